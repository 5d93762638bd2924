"""Lattices as plain arrays: frame-synchronous, acyclic, with separate acoustic and graph scores.

Letters: A arcs, Q states, T frames, K words on one arc at most.

k2 makes lattices (`search.py`); all code that reads them uses this type and does not need k2. States are numbered in
order of time: state 0 is the start, the last one is the end. An arc of frame t leads from a state at time t to one at
time t + 1; the arcs of frame T, with label -1, lead to the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FINAL = -1


@dataclass(frozen=True)
class Lattice:
    """All paths of one utterance after pruning.

    Args:
        source: (A,) source state of each arc; arcs are sorted by it.
        target: (A,) target state of each arc.
        frame: (A,) frame of each arc, not decreasing.
        unit: (A,) output unit of the model: 0 for blank, FINAL on arcs to the end.
        words: (A, K) word ids that the arc emits, padded on the right with 0. A determinised graph emits a word as soon
            as it is unambiguous: several units after its begin, or even in the next word.
        word_starts: (A,) number of words that start with the arc. The n-th word that starts on a path is the n-th it
            emits.
        acoustic: (A,) log-probability of `unit` at `frame`, unscaled; 0 on final arcs.
        graph: (A,) score of the decoding graph: language model, pronunciations and silence.
        num_frames: T.
        acoustic_scale: weight of `acoustic` in `scores`.

    Example:
        >>> lattice = Lattice(                              # two words compete in the only frame
        ...     source=np.array([0, 0, 1]), target=np.array([1, 1, 2]), frame=np.array([0, 0, 1]),
        ...     unit=np.array([3, 4, FINAL]), words=np.array([[7], [8], [0]]), word_starts=np.array([1, 1, 0]),
        ...     acoustic=np.log([0.75, 0.25, 1.0]), graph=np.zeros(3), num_frames=1,
        ... )
        >>> path_word_ids(lattice, best_path(lattice)), arc_posteriors(lattice).round(2).tolist()
        ([7], [0.75, 0.25, 1.0])
    """

    source: Ints
    target: Ints
    frame: Ints
    unit: Ints
    words: Ints
    word_starts: Ints
    acoustic: Floats
    graph: Floats
    num_frames: int
    acoustic_scale: float = 1.0

    @property
    def num_arcs(self) -> int:
        return len(self.source)

    @cached_property
    def num_states(self) -> int:
        return int(self.target.max()) + 1 if self.num_arcs else 0

    @property
    def is_empty(self) -> bool:
        """Whether the lattice has no path."""
        return self.num_arcs == 0

    @property
    def density(self) -> float:
        """Arcs per frame."""
        return self.num_arcs / max(1, self.num_frames)

    @cached_property
    def scores(self) -> Floats:
        """(A,) scaled acoustic plus graph scores."""
        return self.acoustic_scale * self.acoustic + self.graph

    @cached_property
    def frame_splits(self) -> Ints:
        """(T + 2,) arcs frame_splits[t] to frame_splits[t + 1] - 1 belong to frame t."""
        return np.searchsorted(self.frame, np.arange(self.num_frames + 2))

    @cached_property
    def arc_splits(self) -> Ints:
        """(Q + 1,) arcs arc_splits[q] to arc_splits[q + 1] - 1 leave state q."""
        return np.searchsorted(self.source, np.arange(self.num_states + 1))

    def frames(self) -> range:
        """Return all frames with arcs, the last one (T) included."""
        return range(len(self.frame_splits) - 1)

    def arcs_of(self, frame: int) -> slice:
        """Return the arcs of one frame."""
        return slice(int(self.frame_splits[frame]), int(self.frame_splits[frame + 1]))


def empty_lattice(num_frames: int = 0, acoustic_scale: float = 1.0) -> Lattice:
    """Return a lattice without arcs."""
    nothing = np.zeros(0, dtype=np.int64)
    return Lattice(
        nothing, nothing, nothing, nothing, np.zeros((0, 1), dtype=np.int64), nothing,
        np.zeros(0), np.zeros(0), num_frames, acoustic_scale,
    )  # fmt: skip


def backward_best(lattice: Lattice) -> Floats:
    """Compute the score (Q,) of the best path from each state to the end; -inf where there is none."""
    best = np.full(lattice.num_states, -np.inf)
    if lattice.is_empty:
        return best
    best[-1] = 0.0
    for frame in reversed(lattice.frames()):
        arcs = lattice.arcs_of(frame)
        source = lattice.source[arcs]
        if len(source) == 0:
            continue
        first = group_starts(source[1:] != source[:-1])
        best[source[first]] = np.maximum.reduceat(lattice.scores[arcs] + best[lattice.target[arcs]], first)
    return best


def forward_best(lattice: Lattice) -> Floats:
    """Compute the score (Q,) of the best path from the start to each state."""
    best = np.full(lattice.num_states, -np.inf)
    best[:1] = 0.0
    for frame in lattice.frames():
        arcs = lattice.arcs_of(frame)
        target = lattice.target[arcs]
        order = np.argsort(target, kind="stable")
        target = target[order]
        if len(target):
            first = group_starts(target[1:] != target[:-1])
            reached = (best[lattice.source[arcs]] + lattice.scores[arcs])[order]
            best[target[first]] = np.maximum.reduceat(reached, first)
    return best


def prune_lattice(lattice: Lattice, beam: float) -> Lattice:
    """Remove arcs whose best path scores less than the best path of the lattice by more than `beam`.

    Every arc that remains is on a complete path, unlike with a threshold on arc posteriors.
    """
    if lattice.is_empty:
        return lattice
    before, after = forward_best(lattice), backward_best(lattice)
    through = before[lattice.source] + lattice.scores + after[lattice.target]
    kept = np.flatnonzero(through >= after[0] - beam)
    states = np.unique(np.concatenate([lattice.source[kept], lattice.target[kept]]))
    return replace(
        lattice,
        source=np.searchsorted(states, lattice.source[kept]),
        target=np.searchsorted(states, lattice.target[kept]),
        frame=lattice.frame[kept],
        unit=lattice.unit[kept],
        words=lattice.words[kept],
        word_starts=lattice.word_starts[kept],
        acoustic=lattice.acoustic[kept],
        graph=lattice.graph[kept],
    )


def best_path(lattice: Lattice) -> Ints:
    """Return the arcs of the best path, from the start to the end.

    Raises:
        ValueError: the lattice has no path.

    Example: see `Lattice`.
    """
    ahead = backward_best(lattice)
    if lattice.is_empty or not np.isfinite(ahead[0]):
        raise ValueError("the lattice has no path")
    path, state, end = [], 0, lattice.num_states - 1
    while state != end:
        leaving = slice(int(lattice.arc_splits[state]), int(lattice.arc_splits[state + 1]))
        best = int(np.argmax(lattice.scores[leaving] + ahead[lattice.target[leaving]])) + leaving.start
        path.append(best)
        state = int(lattice.target[best])
    return np.array(path, dtype=np.int64)


def path_word_ids(lattice: Lattice, path: Ints) -> list[int]:
    """Return the word ids of a path in order; see the example of `Lattice`."""
    words = lattice.words[path].ravel()
    return [int(word) for word in words[words > 0]]


def forward_sum(lattice: Lattice, scale: float = 1.0) -> Floats:
    """Compute the log-sum (Q,) of all paths from the start to each state; scores are multiplied by `scale`."""
    total = np.full(lattice.num_states, -np.inf)
    total[:1] = 0.0
    for frame in lattice.frames():
        arcs = lattice.arcs_of(frame)
        reached = scale * lattice.scores[arcs] + total[lattice.source[arcs]]
        add_grouped(total, lattice.target[arcs], reached)
    return total


def backward_sum(lattice: Lattice, scale: float = 1.0) -> Floats:
    """Compute the log-sum (Q,) of all paths from each state to the end; scores are multiplied by `scale`."""
    total = np.full(lattice.num_states, -np.inf)
    total[-1:] = 0.0
    for frame in reversed(lattice.frames()):
        arcs = lattice.arcs_of(frame)
        ahead = scale * lattice.scores[arcs] + total[lattice.target[arcs]]
        add_grouped(total, lattice.source[arcs], ahead)
    return total


def add_grouped(total: Floats, states: Ints, values: Floats) -> None:
    """Set total[state] to the log-sum-exp of the values of the state; states without values are unchanged."""
    if len(states) == 0:
        return
    order = np.argsort(states, kind="stable")
    states, values = states[order], values[order]
    first = group_starts(states[1:] != states[:-1])
    total[states[first]] = np.logaddexp.reduceat(values, first)


def arc_posteriors(lattice: Lattice, scale: float = 1.0) -> Floats:
    """Compute the posterior probability (A,) of each arc; the arcs of one frame sum to 1.

    Args:
        scale: factor of the scores; below 1 it flattens the distribution over paths.
    """
    if lattice.is_empty:
        return np.zeros(0)
    before, after = forward_sum(lattice, scale), backward_sum(lattice, scale)
    through = before[lattice.source] + scale * lattice.scores + after[lattice.target]
    return np.exp(through - after[0])


def group_starts(changes: NDArray[np.bool_]) -> Ints:
    """Return the first position of each run of equal values of an array (N,) that is not empty.

    Args:
        changes: (N - 1,) whether a value differs from the one before it.
    """
    return np.concatenate(([0], np.flatnonzero(changes) + 1))


def ranges(first: Ints, count: Ints) -> Ints:
    """Concatenate the ranges first[i] .. first[i] + count[i] - 1 of all rows i."""
    begin = np.cumsum(count) - count
    return np.repeat(first - begin, count) + np.arange(int(count.sum()))

"""How well a perfect choice among a lattice's paths, or a list's hypotheses, would do.

If the oracle is hardly better than the answer, wider beams are needed; if it is much better, better scores
are.

Letters: Q states, R words of the reference.
"""

from __future__ import annotations

from collections.abc import Sequence

import kaldialign
import numpy as np

from augmem.decoding.lattice import Floats, Ints, Lattice


def lattice_oracle_errors(lattice: Lattice, reference: Sequence[int]) -> int:
    """Word errors of the path nearest to the reference; all of it is missed if there is no path.

    Dynamic programming over (state, words of the reference accounted for), all states of a frame at once.
    """
    if lattice.is_empty:
        return len(reference)
    positions = np.arange(len(reference) + 1.0)
    errors = np.full((lattice.num_states, len(reference) + 1), np.inf)
    errors[0] = positions
    for frame in lattice.frames():
        arcs = lattice.arcs_of(frame)
        reached = errors[lattice.source[arcs]]
        for words in lattice.words[arcs].T:
            emitting = np.flatnonzero(words)
            reached[emitting] = after_word(reached[emitting], words[emitting], np.asarray(reference))
        minimum_by_state(errors, lattice.target[arcs], reached)
    return int(errors[-1, -1])


def after_word(errors: Floats, words: Ints, reference: Ints) -> Floats:
    """(N, R + 1) least errors after one more word, from those before it.

    The word is inserted, or stands for the next word of the reference, after which any number may be missed.
    """
    after = errors + 1
    matched = errors[:, :-1] + (words[:, None] != reference[None, :])
    after[:, 1:] = np.minimum(after[:, 1:], matched)
    positions = np.arange(errors.shape[1])
    return np.minimum.accumulate(after - positions, axis=1) + positions


def minimum_by_state(errors: Floats, states: Ints, values: Floats) -> None:
    """errors[state] = least of the rows of `values` that belong to it."""
    order = np.argsort(states, kind="stable")
    states = states[order]
    first = np.flatnonzero(np.diff(states, prepend=-1))
    if len(first):
        errors[states[first]] = np.minimum.reduceat(values[order], first, axis=0)


def nbest_oracle_errors(hypotheses: Sequence[Sequence[str]], reference: Sequence[str]) -> int:
    """Word errors of the hypothesis nearest to the reference; all of it is missed if there is none."""
    distances = (kaldialign.edit_distance(list(reference), list(words))["total"] for words in hypotheses)
    return min(distances, default=len(reference))

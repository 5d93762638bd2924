"""When words were said: the best path of a lattice that spells given words, and the frames of each word on it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from augmem.decoding.lattice import Floats, Ints, Lattice, backward_best
from augmem.decoding.nbest import leaving_arcs


class WordFrames(NamedTuple):
    """A word id and the frames it was said in, `begin` to `end` - 1."""

    word: int
    begin: int
    end: int


def path_of_words(lattice: Lattice, words: Sequence[int], beam: float = np.inf) -> Ints:
    """Arcs of the best path that spells `words`.

    Args:
        beam: paths worse than the lattice's best by more than this are not looked at.

    Raises:
        ValueError: no path spells them.
    """
    ahead = backward_best(lattice)
    wanted = np.array([*words, 0], dtype=np.int64)  # the 0 stands behind the last word and equals none
    state, done, score = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64), np.zeros(1)
    steps: list[tuple[Ints, Ints]] = []  # of each frame: arcs taken, and the rows they come from
    for _ in lattice.frames():
        row, arc = leaving_arcs(lattice, state)
        place, follows = spelt(lattice.words[arc], wanted, done[row])
        reached = score[row] + lattice.scores[arc]
        kept = np.flatnonzero(follows & (reached + ahead[lattice.target[arc]] >= ahead[0] - beam))
        best = strongest_of_each(lattice.target[arc[kept]], place[kept], reached[kept])
        kept = kept[best]
        steps.append((arc[kept], row[kept]))
        state, done, score = lattice.target[arc[kept]], place[kept], reached[kept]
    finished = np.flatnonzero((done == len(words)) & (state == lattice.num_states - 1))
    if lattice.is_empty or len(finished) == 0:
        raise ValueError("no path of the lattice spells these words")
    at, path = int(finished[np.argmax(score[finished])]), []
    for arcs, rows in reversed(steps):
        path.append(int(arcs[at]))
        at = int(rows[at])
    return np.array(path[::-1], dtype=np.int64)


def spelt(words: Ints, wanted: Ints, done: Ints) -> tuple[Ints, np.ndarray]:
    """How many wanted words are spelt after each arc's words (A, K), and whether these were the ones wanted."""
    follows = np.ones(len(words), dtype=bool)
    for column in words.T:
        there = column > 0
        follows &= ~there | (wanted[np.minimum(done, len(wanted) - 1)] == column)
        done = done + there
    return done, follows


def strongest_of_each(state: Ints, place: Ints, score: Floats) -> Ints:
    """Rows with the highest score of each (state, place)."""
    order = np.lexsort((-score, place, state))
    new = (np.diff(state[order], prepend=-1) != 0) | (np.diff(place[order], prepend=-1) != 0)
    return order[new]


def word_frames(lattice: Lattice, path: Ints, silent: Collection[int]) -> list[WordFrames]:
    """The words on a path; each begins with the arc that emits it and ends with its last sound.

    Args:
        silent: units that are no sound: blank and silence.
    """
    found: list[WordFrames] = []
    for arc in path:
        unit, frame = int(lattice.unit[arc]), int(lattice.frame[arc])
        found += [WordFrames(int(word), frame, frame + 1) for word in lattice.words[arc] if word > 0]
        if found and unit not in silent and unit >= 0:
            found[-1] = found[-1]._replace(end=frame + 1)
    return found

"""When words were said: the frames of each word on a path of a lattice."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from augmem.decoding.lattice import Ints, Lattice


class WordFrames(NamedTuple):
    """A word id and the frames it was said in, `begin` to `end` - 1."""

    word: int
    begin: int
    end: int


def sounding(lattice: Lattice, silent: Collection[int]) -> NDArray[np.bool_]:
    """(A,) whether each arc's unit is a sound: neither the end nor one of the `silent` ones, blank and silence."""
    return (lattice.unit >= 0) & ~np.isin(lattice.unit, list(silent))


def spoken_frames(lattice: Lattice, path: Ints, silent: Collection[int]) -> list[tuple[int, int]]:
    """(begin, end) of all words that begin on a path, from the first sound of each to its last.

    Where a path has no end yet, these may be more than the words it emits: nothing shows yet which ones the last are.

    Args:
        silent: units that are no sound: blank and silence.
    """
    found: list[tuple[int, int]] = []
    for arc, is_sound in zip(path, sounding(lattice, silent)[path], strict=True):
        frame = int(lattice.frame[arc])
        found += [(frame, frame + 1)] * int(lattice.begun[arc])
        if found and is_sound:
            found[-1] = (found[-1][0], frame + 1)
    return found


def word_frames(words: Sequence[int], spoken: Sequence[tuple[int, int]]) -> tuple[WordFrames, ...]:
    """Words (`words_on` a path) with the frames they were said in (`spoken_frames`)."""
    return tuple(WordFrames(word, *frames) for word, frames in zip(words, spoken, strict=False))

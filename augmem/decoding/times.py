"""When words were said: the frames of each word on a path of a lattice."""

from __future__ import annotations

from collections.abc import Collection
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


def word_frames(lattice: Lattice, path: Ints, silent: Collection[int]) -> list[WordFrames]:
    """The words on a path; each begins with the arc that emits it and ends with its last sound.

    Args:
        silent: units that are no sound: blank and silence.
    """
    found: list[WordFrames] = []
    for arc, is_sound in zip(path, sounding(lattice, silent)[path], strict=True):
        frame = int(lattice.frame[arc])
        found += [WordFrames(int(word), frame, frame + 1) for word in lattice.words[arc] if word > 0]
        if found and is_sound:
            found[-1] = found[-1]._replace(end=frame + 1)
    return found

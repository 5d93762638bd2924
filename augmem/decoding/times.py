"""Word times: the frames of each word on a path of a lattice."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from augmem.decoding.lattice import FINAL, Ints, Lattice


class WordFrames(NamedTuple):
    """A word id and its frames, `begin` to `end` - 1."""

    word: int
    begin: int
    end: int


def non_silent(lattice: Lattice, silent: Collection[int]) -> NDArray[np.bool_]:
    """Return (A,): whether the unit of each arc is neither silent nor the end.

    Args:
        silent: units of blank and silence.
    """
    return (lattice.unit >= 0) & ~np.isin(lattice.unit, list(silent))


def spoken_frames(lattice: Lattice, path: Ints, silent: Collection[int]) -> list[tuple[int, int]]:
    """Return (begin, end) of all words that begin on a path of a lattice, see `spoken_units`."""
    return spoken_units(lattice.unit[path], lattice.word_starts[path], silent)


def spoken_units(units: NDArray[Any], word_starts: NDArray[Any], silent: Collection[int]) -> list[tuple[int, int]]:
    """Return (begin, end) of all words that begin on a path, from their first to their last non-silent frame.

    On an incomplete path these may be more words than the path emits: the last ones are not yet determined.

    Args:
        units: (T,) unit of each frame, and FINAL at the end if the path is complete.
        word_starts: (T,) number of words that start in each frame.
        silent: units of blank and silence.
    """
    quiet, found = {FINAL, *silent}, list[tuple[int, int]]()
    for frame, (unit, starts) in enumerate(zip(units.tolist(), word_starts.tolist(), strict=True)):
        found += [(frame, frame + 1)] * starts
        if found and unit not in quiet:
            found[-1] = (found[-1][0], frame + 1)
    return found


def word_frames(words: Sequence[int], spans: Sequence[tuple[int, int]]) -> tuple[WordFrames, ...]:
    """Combine the words of a path (`path_word_ids`) with their frames (`spoken_frames`)."""
    return tuple(WordFrames(word, *frames) for word, frames in zip(words, spans, strict=False))

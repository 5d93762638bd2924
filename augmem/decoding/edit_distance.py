"""Word edit distances of many pairs at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist


def edit_distances(left: Sequence[Sequence[str]], right: Sequence[Sequence[str]]) -> NDArray[np.int32]:
    """Count the insertions, deletions and substitutions of words between all pairs of two lists.

    Args:
        left: I word sequences.
        right: J word sequences.

    Returns:
        (I, J)

    Example:
        >>> edit_distances([["A"], ["A", "B"]], [["A", "C"]]).tolist()
        [[1], [1]]
    """
    if not left or not right:
        return np.zeros((len(left), len(right)), dtype=np.int32)
    characters: dict[str, str] = {}  # rapidfuzz compares strings by 64 characters at once

    def as_text(words: Sequence[str]) -> str:
        return "".join(characters.setdefault(word, chr(len(characters))) for word in words)

    return cdist([as_text(w) for w in left], [as_text(w) for w in right], scorer=Levenshtein.distance, dtype=np.int32)

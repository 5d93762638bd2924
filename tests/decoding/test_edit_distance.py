"""Edit distances of word sequences, against those of kaldialign."""

from __future__ import annotations

import kaldialign
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augmem.decoding.edit_distance import edit_distances

SEQUENCES = st.lists(st.lists(st.sampled_from(["A", "B", "C", "LONG WORD", "Ä"]), max_size=8), min_size=1, max_size=4)


@given(SEQUENCES, SEQUENCES)
def test_distances_equal_those_of_kaldialign(left: list[list[str]], right: list[list[str]]) -> None:
    expected = [[kaldialign.edit_distance(a, b)["total"] for b in right] for a in left]
    np.testing.assert_array_equal(edit_distances(left, right), expected)


@pytest.mark.parametrize(
    ("left", "right", "shape"), [([], [["A"]], (0, 1)), ([["A"]], [], (1, 0)), ([[]], [[]], (1, 1))]
)
def test_empty_lists_and_sequences(left: list, right: list, shape: tuple[int, int]) -> None:
    assert edit_distances(left, right).tolist() == np.zeros(shape).tolist()

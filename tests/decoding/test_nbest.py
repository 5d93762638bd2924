"""The n-best search beyond the sizes of the toy lattices of test_search.py."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augmem.decoding import SearchConfig, best_word_sequences
from augmem.decoding.lattice import FINAL, Lattice
from augmem.decoding.nbest_kernels import _nth_highest


def parallel_arcs(scores: np.ndarray) -> Lattice:
    """Return a lattice of T frames with K words side by side in each, words 1 to K; `scores` are (T, K)."""
    frames, count = scores.shape
    frame = np.append(np.repeat(np.arange(frames), count), frames)
    word = np.append(np.tile(np.arange(1, count + 1), frames), 0)
    return Lattice(
        source=frame, target=frame + 1, frame=frame, unit=np.where(word > 0, 1, FINAL), words=word[:, None],
        word_starts=(word > 0).astype(np.int64), acoustic=np.append(scores.ravel(), 0.0),
        graph=np.zeros(len(frame)), num_frames=frames,
    )  # fmt: skip


def test_thousands_of_word_sequences_are_ranked_by_their_sums() -> None:
    """3,375 sequences in the trees of word sequences and begins, which have room for 1,024 at first."""
    scores = np.random.default_rng(1).normal(size=(3, 15))
    config = SearchConfig(nbest=4000, nbest_beam=1000.0, nbest_tokens=4000)
    found = best_word_sequences(parallel_arcs(scores), config)
    expected = {
        tuple(word + 1 for word in words): sum(scores[frame, word] for frame, word in enumerate(words))
        for words in itertools.product(range(15), repeat=3)
    }
    assert {sequence.words: sequence.total for sequence in found} == pytest.approx(expected)
    assert [sequence.total for sequence in found] == sorted((s.total for s in found), reverse=True)
    assert all([(time.begin, time.end) for time in s.times] == [(0, 1), (1, 2), (2, 3)] for s in found)


def test_tokens_beyond_the_limit_are_the_worst_ones() -> None:
    """With independent frames, the best `nbest_tokens` partial sequences are those of the best complete ones."""
    lattice = parallel_arcs(np.random.default_rng(2).normal(size=(4, 9)))
    config = SearchConfig(nbest=20, nbest_beam=1000.0, nbest_tokens=10**6)
    every = best_word_sequences(lattice, config)
    few = best_word_sequences(lattice, SearchConfig(nbest=20, nbest_beam=1000.0, nbest_tokens=20))
    assert [found.words for found in few] == [found.words for found in every]


@given(st.lists(st.floats(-5, 5), min_size=1), st.data())
def test_selection_agrees_with_sorting(values: list[float], data: st.DataObject) -> None:
    n = data.draw(st.integers(0, len(values) - 1))
    assert _nth_highest(np.array(values), n) == sorted(values, reverse=True)[n]

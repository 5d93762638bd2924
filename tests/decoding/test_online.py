"""Decoding in chunks finds the best path of the whole utterance, and word times are those of the best path."""

from __future__ import annotations

from itertools import pairwise

import k2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augmem.decoding import DecodingConfig, Lattice, best_path, best_word_sequences, find_lattices, words_on
from augmem.decoding.lattice import arc_frames
from augmem.decoding.online import GrowingLattice, OnlineSearch, StreamSearch, new_state
from augmem.decoding.search import DecodingGraph
from augmem.decoding.times import spoken_frames, word_frames
from tests.decoding.toys import NUM_UNITS, all_paths, limits, toy_graph

WIDE = DecodingConfig(search_beam=1000.0, output_beam=1000.0, max_active=100000, nbest_beam=1000.0, acoustic_scale=1.0)
GRAPH = DecodingGraph(toy_graph())
ONLINE = OnlineSearch(GRAPH, WIDE)


def random_scores(seed: int, frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(frames, NUM_UNITS, generator=generator)).log_softmax(-1)


def offline(scores: torch.Tensor) -> Lattice:
    return find_lattices(scores[None], torch.tensor([len(scores)]), GRAPH, WIDE)[0].lattice


def in_chunks(scores: torch.Tensor, size: int) -> list[GrowingLattice]:
    search, chunks = StreamSearch(), list(scores.split(size))
    return [ONLINE.advance([search], [chunk], n == len(chunks) - 1)[0] for n, chunk in enumerate(chunks)]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 12), st.integers(1, 5))
def test_equals_offline_for_every_chunk_size(seed: int, frames: int, size: int) -> None:
    scores = random_scores(seed, frames)
    whole, grown = offline(scores), in_chunks(scores, size)[-1]
    mine, other = best_path(grown.lattice), best_path(whole)
    assert grown.complete[mine[-1]]
    assert words_on(grown.lattice, mine) == words_on(whole, other)
    assert grown.lattice.scores[mine].sum() == pytest.approx(whole.scores[other].sum(), abs=1e-4)
    np.testing.assert_array_equal(grown.lattice.frame[mine], np.arange(frames + 1))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(4, 8))
def test_batched_streams_equal_single_streams(seed: int, size: int, frames: int) -> None:
    frames -= frames % size
    scores = [random_scores(seed + n, frames) for n in range(3)]
    searches = [StreamSearch() for _ in scores]
    for begin in range(0, frames, size):
        chunks = [row[begin : begin + size] for row in scores]
        together = ONLINE.advance(searches, chunks, begin + size == frames)
    for row, growing in zip(scores, together, strict=True):
        alone = in_chunks(row, size)[-1].lattice
        assert words_on(growing.lattice, best_path(growing.lattice)) == words_on(alone, best_path(alone))


def test_a_word_continues_over_a_chunk_boundary() -> None:
    """Units 1 and 2 make word 1: after unit 1 no word is complete, but the path is not empty."""
    scores = torch.full((4, NUM_UNITS), -20.0)
    scores[:2, 1] = scores[2:, 2] = 0.0
    paused, closed = in_chunks(scores, 2)
    assert not paused.complete[best_path(paused.lattice)[-1]]
    assert words_on(closed.lattice, best_path(closed.lattice)) == [1]


class NewState:
    """`DecodeStateInfo` of k2 1.24: a stream starts with an empty one."""

    def __init__(self, old: object = None) -> None:
        self.old = old


class NewIntersecter(k2.OnlineDenseIntersecter):
    """`OnlineDenseIntersecter` of k2 1.24: takes and returns `DecodeStateInfo` only."""

    def decode(self, dense: k2.DenseFsaVec, states: list[NewState]) -> tuple[k2.Fsa, list[NewState]]:
        assert all(type(state) is NewState for state in states)
        lattices, new = super().decode(dense, [state.old for state in states])
        return lattices, [NewState(state) for state in new]


class OldState:
    """`DecodeStateInfo` of k2 1.23: it has no constructor."""

    def __new__(cls) -> OldState:
        raise TypeError("_k2.DecodeStateInfo: No constructor defined!")


def test_streams_start_with_the_state_that_k2_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = random_scores(1, 6)
    expected = in_chunks(scores, 2)[-1].lattice
    monkeypatch.setattr(k2, "DecodeStateInfo", OldState)
    assert new_state() is None
    monkeypatch.setattr(k2, "DecodeStateInfo", NewState)
    monkeypatch.setattr(k2, "OnlineDenseIntersecter", NewIntersecter)
    online, search = OnlineSearch(GRAPH, WIDE), StreamSearch()
    for number, chunk in enumerate(scores.split(2)):
        found = online.advance([search], [chunk], final=number == 2)[0].lattice
    assert isinstance(search.state, NewState)
    np.testing.assert_array_equal(found.scores, expected.scores)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 7))
def test_word_times_are_those_of_the_best_path_with_these_words(seed: int, frames: int) -> None:
    lattice = offline(random_scores(seed, frames))
    best: dict[tuple[int, ...], list[int]] = {}
    for path in all_paths(lattice):
        words = tuple(words_on(lattice, np.array(path)))
        if words not in best or lattice.scores[path].sum() > lattice.scores[best[words]].sum():
            best[words] = path
    for hypothesis in best_word_sequences(lattice, limits(20, 1000.0, 10000), silent=(0, 2)):
        path = best[hypothesis.words]
        assert lattice.scores[path].sum() == pytest.approx(hypothesis.best, abs=1e-9)
        spoken = spoken_frames(lattice, np.array(path), {0, 2})
        assert hypothesis.times == word_frames(hypothesis.words, spoken)
        assert [time.word for time in hypothesis.times] == list(hypothesis.words)
        assert all(time.begin < time.end <= frames for time in hypothesis.times)
        assert all(before.end <= after.begin for before, after in pairwise(hypothesis.times))


def test_unreachable_arcs_have_no_frame() -> None:
    """k2's online intersection sometimes returns a state that cannot be reached from the start."""
    source, target = np.array([0, 0, 1, 2, 3, 4]), np.array([1, 2, 4, 4, 4, 5])
    assert arc_frames(source, target).tolist() == [0, 0, 1, 1, -1, 2]

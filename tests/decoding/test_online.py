"""The search of chunks finds the lattice of the whole utterance; best paths, stable words and word times."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import k2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augmem.decoding import (
    BeamSearch,
    DecodingConfig,
    DecodingGraph,
    Lattice,
    SearchState,
    best_path,
    best_word_sequences,
    count_stable_words,
    current_best_path,
    find_lattices,
    path_word_ids,
)
from augmem.decoding.beam_search import next_beam
from augmem.decoding.times import spoken_frames, word_frames
from tests.decoding.toys import NUM_UNITS, all_paths, limits, toy_graph

WIDE = DecodingConfig(search_beam=1000.0, output_beam=1000.0, max_active=100000, nbest_beam=1000.0, acoustic_scale=1.0)
NARROW = replace(WIDE, search_beam=6.0, output_beam=4.0, max_active=8, min_active=2)
GRAPH = DecodingGraph(toy_graph())
SILENT = (0,)
COLUMNS = ("source", "target", "frame", "unit", "words", "word_starts", "acoustic", "graph")


def random_scores(seed: int, frames: int, sharpness: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(frames, NUM_UNITS, generator=generator)).log_softmax(-1)


def offline(scores: torch.Tensor, config: DecodingConfig = WIDE) -> Lattice:
    return find_lattices(scores[None], torch.tensor([len(scores)]), GRAPH, config)[0].lattice


def in_chunks(scores: torch.Tensor, size: int, config: DecodingConfig = WIDE) -> tuple[BeamSearch, SearchState]:
    search, state = BeamSearch(GRAPH.arrays, config), SearchState()
    for chunk in scores.split(size):
        search.advance(state, chunk)
    return search, state


def assert_equal(mine: Lattice, other: Lattice) -> None:
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(mine, column), getattr(other, column))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 12), st.integers(1, 5))
def test_best_path_equals_that_of_k2_for_every_chunk_size(seed: int, frames: int, size: int) -> None:
    scores = random_scores(seed, frames)
    dense = k2.DenseFsaVec(scores[None], torch.tensor([[0, 0, frames]], dtype=torch.int32))
    best = k2.shortest_path(k2.intersect_dense(GRAPH.fsa, dense, 1000.0), use_double_scores=True)
    labels = best.aux_labels if isinstance(best.aux_labels, torch.Tensor) else best.aux_labels.values
    search, state = in_chunks(scores, size)
    lattice = search.lattice(state)
    path = best_path(lattice)
    assert path_word_ids(lattice, path) == [word for word in labels.tolist() if word > 0]
    assert lattice.scores[path].sum() == pytest.approx(float(best.scores.sum()), abs=1e-4)
    np.testing.assert_array_equal(lattice.frame[path], np.arange(frames + 1))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 40), st.integers(1, 9), st.sampled_from([WIDE, NARROW]))
def test_lattice_equals_offline_for_every_chunk_size(seed: int, frames: int, size: int, config: DecodingConfig) -> None:
    scores = random_scores(seed, frames)
    search, state = in_chunks(scores, size, config)
    assert_equal(search.lattice(state), offline(scores, replace(config, retries=0)))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.floats(0.5, 6.0), st.integers(1, 3))
def test_lattice_has_exactly_the_arcs_within_the_output_beam(seed: int, frames: int, beam: float, size: int) -> None:
    scores = random_scores(seed, frames, sharpness=1.0)
    everything = offline(scores)
    near = np.full(everything.num_arcs, -np.inf)
    for path in all_paths(everything):
        near[path] = np.maximum(near[path], everything.scores[path].sum())
    kept = near >= near.max() - beam
    search, state = in_chunks(scores, size, replace(WIDE, output_beam=beam))
    pruned = search.lattice(state)
    order, others = (np.lexsort((lattice.scores, lattice.frame)) for lattice in (pruned, everything))
    others = others[kept[others]]
    np.testing.assert_array_equal(pruned.frame[order], everything.frame[others])
    np.testing.assert_allclose(pruned.scores[order], everything.scores[others])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(8, 40), st.integers(1, 9), st.floats(1.0, 8.0))
def test_stable_words_begin_every_hypothesis_of_the_final_list(
    seed: int, frames: int, size: int, sharpness: float
) -> None:
    scores = random_scores(seed, frames, sharpness)
    config = replace(WIDE, output_beam=6.0, nbest_beam=6.0)
    search, state, stable = BeamSearch(GRAPH.arrays, config), SearchState(), list[tuple[int, ...]]()
    for chunk in scores.split(size):
        search.advance(state, chunk)
        words = tuple(word.word for word in current_best_path(GRAPH.arrays, state, SILENT).words)
        stable.append(words[: count_stable_words(GRAPH.arrays, state)])
    final = [found.words for found in best_word_sequences(search.lattice(state), config, SILENT)]
    assert all(words == sequence[: len(words)] for words in stable for sequence in final)


def test_words_become_stable_before_the_end() -> None:
    """Certain scores of word 1 (units 1, 2) and a blank, ten times."""
    scores = torch.full((60, NUM_UNITS), -20.0)
    scores[torch.arange(60), torch.tensor([1, 2, 2, 0, 0, 0] * 10)] = 0.0
    _, state = in_chunks(scores[:48], 6, replace(WIDE, search_beam=50.0, output_beam=8.0, min_active=0))
    path = current_best_path(GRAPH.arrays, state, SILENT)
    assert [word.word for word in path.words] == [1] * 8 and path.spoken[7] == (42, 45)
    assert 6 <= count_stable_words(GRAPH.arrays, state) <= 8


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(1, 7))
def test_current_best_path_is_the_best_of_all_paths_to_any_state(seed: int, frames: int, size: int) -> None:
    """Words and cost are those of the lattice whose paths may end in any state."""
    search, state = BeamSearch(GRAPH.arrays, WIDE), SearchState()
    for chunk in random_scores(seed, frames).split(size):
        search.advance(state, chunk)
        path = current_best_path(GRAPH.arrays, state, SILENT)  # from a trace that was begun for the last chunk
        again = replace(state, best=[])
        assert path == current_best_path(GRAPH.arrays, again, SILENT) and state.best == again.best
    arcs = np.array([arc for arc, _ in state.best])
    complete, graph = search.lattice(state), GRAPH.fsa.scores.numpy()
    acoustic = torch.cat(state.log_probs).numpy()[np.arange(frames), GRAPH.fsa.labels.numpy()[arcs]]
    best, ended = float((graph[arcs] + acoustic).sum()), float(complete.scores[best_path(complete)].sum())
    assert search.relative_cost(state) == pytest.approx(best - ended, abs=1e-3) and best >= ended - 1e-3


def test_a_copy_can_be_searched_further_without_changing_the_state() -> None:
    scores = random_scores(5, 20)
    search, state = in_chunks(scores[:12], 4)
    current_best_path(GRAPH.arrays, state, SILENT)
    preview = state.copy()
    search.extend(preview, random_scores(6, 8))
    assert preview.num_frames == 20 and current_best_path(GRAPH.arrays, preview, SILENT).words
    search.advance(state, scores[12:])
    assert_equal(search.lattice(state), offline(scores))


def test_a_word_continues_over_a_chunk_boundary() -> None:
    """Units 1 and 2 make word 1: after unit 1 no word is complete, but the path is not empty."""
    scores = torch.full((4, NUM_UNITS), -20.0)
    scores[:2, 1] = scores[2:, 2] = 0.0
    search, state = in_chunks(scores[:2], 2, replace(WIDE, search_beam=10.0))
    assert not search.is_complete(state) and search.relative_cost(state) == float("inf")
    opened = search.lattice(state)
    assert opened.unit[-1] == -1 and opened.graph[-1] == 0.0
    search.advance(state, scores[2:])
    lattice = search.lattice(state)
    assert search.is_complete(state) and path_word_ids(lattice, best_path(lattice)) == [1]


def test_the_beam_grows_while_there_are_too_few_states_and_stays_finite() -> None:
    config = replace(NARROW, min_active=5)
    assert next_beam(6.0, 4, config) == 7.5 and next_beam(7.5, 5, config) == pytest.approx(7.2)
    beam = 6.0
    for _ in range(5000):
        beam = next_beam(beam, 1, config)
    assert next_beam(beam, 9, config) < beam


def test_the_first_frames_of_a_search_have_a_lattice() -> None:
    scores = random_scores(8, 24)
    search, state = in_chunks(scores, 8)
    assert_equal(search.lattice(state, 10), offline(scores[:10]))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 6))
def test_word_times_are_those_of_the_best_path_with_these_words(seed: int, frames: int) -> None:
    lattice = offline(random_scores(seed, frames))
    best: dict[tuple[int, ...], list[int]] = {}
    for path in all_paths(lattice):
        words = tuple(path_word_ids(lattice, np.array(path)))
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

"""First pass and n-best lists, compared with enumeration, kaldi-decoder and k2."""

from __future__ import annotations

import logging

import k2
import kaldi_decoder
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augmem.decoding.config import DecodingConfig
from augmem.decoding.lattice import Lattice, arc_posteriors, best_path, path_word_ids
from augmem.decoding.nbest import best_word_sequences
from augmem.decoding.search import DecodingGraph, Search, find_lattices
from augmem.errors import UserError
from benchmarks.kaldi_decoder import kaldi_best, openfst
from tests.decoding import toys

WIDE = DecodingConfig(
    search_beam=1000, output_beam=1000, nbest_beam=1000, min_active=0, max_active=100000, acoustic_scale=1.0
)
GRAPH = DecodingGraph(toys.toy_graph())

EXACT = kaldi_decoder.FasterDecoderOptions(beam=1000, min_active=0)

seeds = st.integers(0, 10**6)


def lattice_of(log_probs: torch.Tensor, config: DecodingConfig = WIDE) -> Lattice:
    """Return the lattice of one utterance (1, T, V)."""
    return find_lattices(log_probs, torch.tensor([log_probs.shape[1]]), GRAPH, config)[0].lattice


@settings(deadline=None, max_examples=20)
@given(seeds, st.integers(1, 6), st.sampled_from([0.5, 1.0]))
def test_best_path_and_nbest_equal_enumeration(seed: int, frames: int, acoustic_scale: float) -> None:
    log_probs = toys.random_scores(seed, frames)
    config = DecodingConfig(
        search_beam=1000, output_beam=1000, min_active=0, max_active=100000, acoustic_scale=acoustic_scale
    )
    lattice = lattice_of(log_probs, config)
    truth = toys.all_sentences(log_probs[0], acoustic_scale)

    path = best_path(lattice)
    assert lattice.scores[path].sum() == pytest.approx(max(best for _, best in truth.values()), abs=1e-5)
    assert truth[tuple(path_word_ids(lattice, path))][1] == pytest.approx(lattice.scores[path].sum(), abs=1e-5)

    listed = {path.words: path for path in best_word_sequences(lattice, toys.limits(10**6, 1000, 10**6))}
    assert set(listed) == set(truth)
    for words, (total, best) in truth.items():
        assert listed[words].total == pytest.approx(total, abs=1e-5)
        assert listed[words].best == pytest.approx(best, abs=1e-5)
        assert listed[words].graph == pytest.approx(max(toys.grammar_paths(words)), abs=1e-5)


def test_short_lists_contain_the_best_of_the_full_list() -> None:
    lattice = lattice_of(toys.random_scores(3, 12))
    full = best_word_sequences(lattice, toys.limits(10**6, 1000, 10**6))
    narrow = best_word_sequences(lattice, toys.limits(5, 8, 500))
    assert len(narrow) == 5 and len({path.words for path in narrow}) == 5
    assert [path.words for path in narrow] == [path.words for path in full[:5]]
    assert [path.total for path in narrow] == pytest.approx([path.total for path in full[:5]], abs=0.01)


@settings(deadline=None, max_examples=10)
@given(seeds, st.floats(0.2, 2.0))
def test_arc_posteriors_sum_to_one_per_frame_and_equal_k2(seed: int, scale: float) -> None:
    lattice = lattice_of(toys.random_scores(seed, 9))
    posteriors = arc_posteriors(lattice, scale)
    sums = [posteriors[lattice.arcs_of(frame)].sum() for frame in lattice.frames()]
    assert len(sums) == 10 and np.allclose(sums, 1)

    arcs = np.stack([lattice.source, lattice.target, lattice.unit, np.zeros_like(lattice.unit)], 1).astype(np.int32)
    fsa = k2.Fsa(torch.from_numpy(arcs))
    fsa.scores = torch.from_numpy(scale * lattice.scores).float()
    expected = k2.create_fsa_vec([fsa]).get_arc_post(use_double_scores=True, log_semiring=True).exp().numpy()
    assert np.allclose(posteriors, expected, atol=1e-4)


def test_lattice_states_are_in_order_of_frames() -> None:
    lattice = lattice_of(toys.random_scores(5, 8))
    assert (np.diff(lattice.source) >= 0).all() and (np.diff(lattice.frame) >= 0).all()
    time = np.zeros(lattice.num_states, dtype=int)
    time[lattice.target] = lattice.frame + 1
    assert (time[lattice.source] == lattice.frame).all()
    assert lattice.density == lattice.num_arcs / 8


@settings(deadline=None, max_examples=15)
@given(seeds, st.integers(3, 40))
def test_best_path_equals_kaldi_decoder(seed: int, frames: int) -> None:
    log_probs = toys.random_scores(seed, frames, sharpness=4.0)
    lattice = lattice_of(log_probs)
    path = best_path(lattice)
    score, words = kaldi_best(openfst(GRAPH.fsa[0]), log_probs[0], EXACT)
    assert lattice.scores[path].sum() == pytest.approx(score, abs=1e-3)
    assert path_word_ids(lattice, path) == words


def test_result_is_independent_of_the_rest_of_the_batch() -> None:
    log_probs, lengths = toys.random_scores(7, 20, batch=4), torch.tensor([5, 20, 11, 20])
    together = find_lattices(log_probs, lengths, GRAPH, WIDE)
    for b, found in enumerate(together):
        alone = lattice_of(log_probs[b : b + 1, : lengths[b]])
        assert found.search is Search.NORMAL and found.lattice.num_frames == lengths[b]
        assert np.array_equal(found.lattice.scores, alone.scores)
        assert np.array_equal(found.lattice.words, alone.words)


def test_several_words_on_one_arc() -> None:
    """Ragged word labels, as on an HLG after epsilon removal."""
    graph = k2.Fsa.from_str("0 1 1 -0.5\n1 1 0 0\n1 2 2 -0.25\n2 3 -1 -0.125\n3")
    graph.aux_labels = k2.RaggedTensor([[5, 6], [], [7], [-1]])
    log_probs = toys.random_scores(1, 4)
    found = find_lattices(log_probs, torch.tensor([4]), DecodingGraph(graph), WIDE)[0]
    paths = best_word_sequences(found.lattice, toys.limits(10, 100, 100))
    assert [path.words for path in paths] == [(5, 6, 7)]
    rows = log_probs[0].double()
    assert paths[0].best == pytest.approx(float(rows[0, 1] + rows[1, 0] + rows[2, 0] + rows[3, 2] - 0.875))
    assert paths[0].graph == pytest.approx(-0.875)


@pytest.mark.parametrize("ragged", [False, True])
def test_an_utterance_without_final_state_gets_a_partial_lattice(
    ragged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The graph requires four units, and there are three frames."""
    lines = [f"{n} {n + 1} {unit} {word} -0.5" for n, (unit, word) in enumerate([(1, 8), (2, 0), (3, 9), (1, 0)])]
    graph = k2.Fsa.from_str("\n".join([*lines, "4 5 -1 -1 0", "5"]), num_aux_labels=1)
    if ragged:
        graph.aux_labels = k2.RaggedTensor([[8], [], [9], [], [-1]])
    log_probs = toys.random_scores(2, 4, batch=3)
    with caplog.at_level(logging.INFO):
        found = find_lattices(
            log_probs, torch.tensor([3, 4, 0]), DecodingGraph(graph), WIDE, ["short", "right", "none"]
        )
    assert [result.search for result in found] == [Search.OPEN_END, Search.NORMAL, Search.FAILED]
    assert path_word_ids(found[0].lattice, best_path(found[0].lattice)) == [8, 9]
    assert found[2].lattice.is_empty and best_word_sequences(found[2].lattice, toys.limits(5, 10, 10)) == []
    assert "using all states final: short" in caplog.text
    assert "no path with all states final: none" in caplog.text


def test_narrow_beams_are_widened(caplog: pytest.LogCaptureFixture) -> None:
    """The only complete path starts 30 nats below a path without an end."""
    graph = k2.Fsa.from_str("0 1 1 1 -30\n0 2 2 2 0\n1 3 3 0 0\n2 2 2 0 0\n3 4 -1 -1 0\n4", num_aux_labels=1)
    narrow = DecodingConfig(search_beam=15, output_beam=10, min_active=0, max_active=10, acoustic_scale=1.0)
    flat = torch.zeros(1, 2, 4).log_softmax(-1)
    with caplog.at_level(logging.INFO):
        found = find_lattices(flat, torch.tensor([2]), DecodingGraph(graph), narrow)[0]
    assert found.search is Search.WIDER and path_word_ids(found.lattice, best_path(found.lattice)) == [1]
    assert "wider beams" in caplog.text


def test_bad_scores_are_refused() -> None:
    log_probs = toys.random_scores(0, 5, batch=2)
    with pytest.raises(ValueError, match=r"log_probs \(2, 5, 4\) and lengths \(3,\)"):
        find_lattices(log_probs, torch.tensor([5, 5, 5]), GRAPH, WIDE)
    with pytest.raises(ValueError, match="length of 6 frames exceeds"):
        find_lattices(log_probs, torch.tensor([5, 6]), GRAPH, WIDE)
    log_probs[1, 3, 2] = float("nan")
    with pytest.raises(UserError, match="mine: acoustic scores are NaN"):
        find_lattices(log_probs, torch.tensor([5, 5]), GRAPH, WIDE, ["yours", "mine"])
    find_lattices(log_probs, torch.tensor([5, 3]), GRAPH, WIDE)  # frames beyond the length are ignored


def test_configuration_names_field_value_and_rule() -> None:
    for field, value in {"search_beam": 0, "nbest": 0, "retries": -1, "lm_scales": ()}.items():
        with pytest.raises(UserError, match=rf"decoding\.{field} is .*; it must"):
            DecodingConfig(**{field: value})

"""Oracle WER, minimum Bayes risk, confidences and their calibration, compared with enumeration."""

from __future__ import annotations

import jiwer
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augmem.decoding.calibration import (
    CalibrationItem,
    best_posterior_scale,
    calibrate,
    correct_words,
    normalised_cross_entropy,
    reliability,
)
from augmem.decoding.config import DecodingConfig
from augmem.decoding.lattice_posteriors import (
    MIN_ERROR_PROBABILITY,
    expected_errors,
    minimum_bayes_risk,
    posteriors,
    word_confidences,
)
from augmem.decoding.nbest import best_word_sequences
from augmem.decoding.oracle import lattice_oracle_errors, nbest_oracle_errors
from augmem.decoding.search import DecodingGraph, empty_lattice, find_lattices
from tests.decoding import toys

GRAPH = DecodingGraph(toys.toy_graph())
sentences = st.lists(st.sampled_from("ABC"), max_size=5).map(tuple)
lists = st.lists(st.tuples(sentences, st.floats(-20, 0)), min_size=1, max_size=6, unique_by=lambda pair: pair[0])


def distance(reference: tuple, words: tuple) -> int:
    """Count word errors with jiwer, which refuses empty references."""
    if not reference:
        return len(words)
    result = jiwer.process_words(" ".join(map(str, reference)), " ".join(map(str, words)))
    return result.substitutions + result.deletions + result.insertions


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 9), st.lists(st.integers(1, 5), max_size=6))
def test_lattice_oracle_equals_the_best_of_all_its_paths(seed: int, frames: int, reference: list[int]) -> None:
    narrow = DecodingConfig(search_beam=6, output_beam=4, min_active=1, acoustic_scale=1.0)
    lattice = find_lattices(toys.random_scores(seed, frames), torch.tensor([frames]), GRAPH, narrow)[0].lattice
    every_path = best_word_sequences(lattice, toys.limits(10**6, 1000, 10**6))
    expected = min(distance(tuple(reference), path.words) for path in every_path)
    assert lattice_oracle_errors(lattice, reference) == expected


def test_oracles_of_empty_lattices_count_every_word_as_an_error() -> None:
    assert lattice_oracle_errors(empty_lattice(), [1, 2, 3]) == 3
    assert nbest_oracle_errors([], ("A", "B")) == 2
    assert nbest_oracle_errors([("A",), ("B", "B")], ("A", "B")) == 1


@settings(deadline=None, max_examples=50)
@given(lists)
def test_minimum_bayes_risk_equals_its_definition(pairs: list[tuple[tuple, float]]) -> None:
    hypotheses = [words for words, _ in pairs]
    probabilities = posteriors(np.array([score for _, score in pairs]), 0.3)
    assert probabilities.sum() == pytest.approx(1)
    risks = [sum(p * distance(w, v) for p, w in zip(probabilities, hypotheses, strict=True)) for v in hypotheses]
    assert expected_errors(hypotheses, probabilities) == pytest.approx(risks)
    assert risks[minimum_bayes_risk(hypotheses, probabilities)] == pytest.approx(min(risks))


def test_minimum_bayes_risk_prefers_the_centre_of_the_list() -> None:
    """The most probable sentence differs from the others, which differ by one word from each other."""
    hypotheses = [("X", "Y", "Z"), ("A", "B", "C"), ("A", "B", "D"), ("A", "B", "E")]
    probabilities = np.array([0.34, 0.22, 0.22, 0.22])
    assert minimum_bayes_risk(hypotheses, probabilities) == 1
    assert minimum_bayes_risk(hypotheses, np.array([0.9, 0.1, 0, 0])) == 0
    with pytest.raises(ValueError, match="no hypothesis"):
        minimum_bayes_risk([], np.zeros(0))


def test_confidences_are_the_posterior_of_entries_with_that_word() -> None:
    hypotheses = [("A", "B", "C"), ("A", "C"), ("A", "X", "C"), ()]
    confidences = word_confidences(hypotheses[0], hypotheses, np.array([0.4, 0.3, 0.2, 0.1]))
    assert confidences == pytest.approx([0.9, 0.4, 0.9])
    assert word_confidences((), hypotheses, np.full(4, 0.25)) == []


@settings(deadline=None, max_examples=50)
@given(lists)
def test_confidences_lie_between_0_and_1(pairs: list[tuple[tuple, float]]) -> None:
    hypotheses = [words for words, _ in pairs]
    probabilities = posteriors(np.array([score for _, score in pairs]))
    for answer, probability in zip(hypotheses, probabilities, strict=True):
        confidences = word_confidences(answer, hypotheses, probabilities)
        assert len(confidences) == len(answer)
        assert all(
            min(probability, 1 - MIN_ERROR_PROBABILITY) - 1e-9 <= value <= 1 - MIN_ERROR_PROBABILITY
            for value in confidences
        )


def test_correct_words() -> None:
    assert correct_words(("A", "X", "B", "C"), ("A", "B", "D")) == [True, False, True, False]
    assert correct_words((), ("A",)) == [] and correct_words(("A",), ()) == [False]


def test_cross_entropy_is_one_for_perfect_zero_for_the_mean_and_negative_if_worse() -> None:
    right = [True] * 6 + [False] * 2
    assert normalised_cross_entropy([1.0] * 6 + [0.0] * 2, right) == pytest.approx(1, abs=1e-4)
    assert normalised_cross_entropy([0.75] * 8, right) == pytest.approx(0)
    assert normalised_cross_entropy([0.99] * 8, right) < 0
    # two words with confidences 0.8 and 0.4: 1 - (log2(1/0.8) + log2(1/0.6)) / 2
    assert normalised_cross_entropy([0.8, 0.4], [True, False]) == pytest.approx(1 - (0.321928 + 0.736966) / 2)
    with pytest.raises(ValueError, match="needs correct and wrong words"):
        normalised_cross_entropy([0.5], [True])


def test_reliability_bins_contain_every_word_once() -> None:
    bins = reliability([0.05, 0.95, 1.0, 0.91, 0.5], [False, True, True, False, True])
    assert sum(b.words for b in bins) == 5
    assert [(round(b.confidence, 3), round(b.accuracy, 3)) for b in bins] == [
        (0.05, 0),
        (0.5, 1),
        (0.953, 0.667),
    ]


def test_fitted_scale_recovers_the_true_probabilities() -> None:
    generator = np.random.default_rng(1)
    truth = generator.uniform(0.05, 0.95, 4000)
    right = generator.uniform(size=4000) < truth
    logit = np.log(truth / (1 - truth)) * 3  # overconfident by a factor of three
    best, table = best_posterior_scale(lambda s: (1 / (1 + np.exp(-s * logit)), right), [0.1, 1 / 3, 1.0, 2.0])
    assert best == pytest.approx(1 / 3) and table[best] > 0.1 > table[1.0]


def test_calibration_finds_the_scale_of_the_true_probabilities() -> None:
    """In the sampled lists the first of two words is correct with its probability at scale 0.5."""
    random = np.random.default_rng(1)
    lists = []
    for _ in range(3000):
        lead = random.uniform(0, 6)
        right = random.random() < 1 / (1 + np.exp(-0.5 * lead))
        lists.append(CalibrationItem([("A",), ("B",)], np.array([lead, 0.0]), ("A",) if right else ("B",)))
    found = calibrate(lists, (0.1, 0.25, 0.5, 1.0, 2.0))
    assert found["posterior_scale"] == 0.5 and found["nce"] > 0
    for point in found["reliability"]:
        assert point["confidence"] == pytest.approx(point["accuracy"], abs=0.08)
    nothing = calibrate([CalibrationItem([("A",)], np.zeros(1), ("A",))], (0.1, 1.0))
    assert nothing == {"posterior_scale": 0.1, "nce": None, "reliability": []}

"""The phone LM: normalisation, estimation by hand, and its acceptor."""

from __future__ import annotations

import itertools
import math

import k2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmem.automata import PhoneLm, estimate_phone_lm
from augmem.automata.fsa import Arc, build_fsa
from augmem.automata.phone_lm import SEQUENCE_END, SEQUENCE_START

SEQUENCES = [[1, 2, 3], [1, 2], [2, 2, 3, 1, 1], [3], [1, 2, 3, 3], []]
sequences = st.lists(st.lists(st.integers(1, 4), max_size=7), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(sequences, st.integers(2, 4), st.integers(0, 30))
def test_every_history_has_a_distribution_over_all_units(data: list[list[int]], order: int, most: int) -> None:
    model = estimate_phone_lm(data, range(1, 5), order, most)
    assert sum(len(history) > 1 for history in model.probabilities) <= most
    for history, following in model.probabilities.items():
        assert set(following) == {1, 2, 3, 4, SEQUENCE_END}
        assert min(following.values()) > 0
        assert math.isclose(sum(following.values()), 1, abs_tol=1e-12)
        assert history == (SEQUENCE_START,) or len(history) == 1 or history[1:] in model.probabilities


def test_bigram_equals_interpolated_absolute_discounting_by_hand() -> None:
    model = estimate_phone_lm([[1, 1], [1, 2]], [1, 2], 2, 0)
    # Unigrams: 1 three times, 2 once, SEQUENCE_END twice; one single and one double, so D = 1 / (1 + 2 * 1) = 1/3.
    unigram = {u: (c - 1 / 3) / 6 + (3 / 3 / 6) / 3 for u, c in ((1, 3), (2, 1), (SEQUENCE_END, 2))}
    # Bigrams: SEQUENCE_START 1 twice; 1 1, 1 2, 1 SEQUENCE_END, 2 SEQUENCE_END once each: D = 4 / (4 + 2 * 1) = 2/3.
    assert model.probabilities[(SEQUENCE_START,)][1] == pytest.approx((2 - 2 / 3) / 2 + 2 / 3 / 2 * unigram[1])
    assert model.probabilities[(SEQUENCE_START,)][2] == pytest.approx(2 / 3 / 2 * unigram[2])
    assert model.probabilities[(1,)][1] == pytest.approx((1 - 2 / 3) / 3 + 2 / 3 * unigram[1])
    assert model.probabilities[(2,)][SEQUENCE_END] == pytest.approx(1 / 3 + 2 / 3 * unigram[SEQUENCE_END])


def test_acceptor_has_one_path_per_sequence_with_its_probability() -> None:
    model = estimate_phone_lm(SEQUENCES, range(1, 5), 3, 4)
    acceptor = model.acceptor()
    for length in range(4):
        for sequence in itertools.product(range(1, 5), repeat=length):
            chain = [Arc(i, i + 1, unit, 0) for i, unit in enumerate([*sequence, -1])]
            lattice = k2.intersect(build_fsa(chain, acceptor=True), acceptor, treat_epsilons_specially=False)
            vector = k2.create_fsa_vec([lattice])
            expected = pytest.approx(model.log_probability(sequence), abs=1e-4)
            assert vector.get_tot_scores(True, log_semiring=True).item() == expected
            assert vector.get_tot_scores(True, log_semiring=False).item() == expected


def test_longer_histories_lower_the_perplexity_of_the_training_data() -> None:
    data = [[1, 2, 3, 1, 2, 4] * 3, [2, 3, 1, 2, 4, 4] * 2] * 5
    fits = [estimate_phone_lm(data, range(1, 5), order, 100).perplexity(data) for order in (2, 3, 4)]
    assert fits == sorted(fits, reverse=True)


def test_pruned_histories_fall_back_to_the_longest_suffix_kept() -> None:
    model = PhoneLm((1, 2), {(SEQUENCE_START,): {}, (1,): {}, (2,): {}, (1, 2): {}})
    assert model.history_after((1,), 2) == (1, 2)
    assert model.history_after((1, 2), 2) == (2,)
    assert model.history_after((SEQUENCE_START,), 1) == (1,)


def test_unknown_units_and_missing_data_are_refused() -> None:
    with pytest.raises(ValueError, match=r"outside the inventory: \[7\]"):
        estimate_phone_lm([[1, 7]], [1, 2], 2, 0)
    with pytest.raises(ValueError, match="0 sequences"):
        estimate_phone_lm([], [1, 2], 2, 0)

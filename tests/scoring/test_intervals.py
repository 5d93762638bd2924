"""Bootstrap intervals: equal to those of kaldialign, coverage, reproducibility."""

import math
import random

import kaldialign
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmem.scoring.alignment import Utterance
from augmem.scoring.intervals import bootstrap_rates, percentile_interval, wer_interval


def make_utterances(number: int, wrong: float, seed: int = 0, speakers: int = 5) -> list[Utterance]:
    """Return utterances of 5 to 15 words, each wrong with probability `wrong`."""
    rng = random.Random(seed)
    utterances = []
    for i in range(number):
        ref = [rng.choice("ABCDEFGH") for _ in range(rng.randint(5, 15))]
        hyp = [word if rng.random() > wrong else "X" for word in ref]
        utterances.append(Utterance(f"u{i:04}", f"s{i % speakers}", ref, hyp))
    return utterances


def test_interval_agrees_with_kaldialign() -> None:
    utterances = make_utterances(300, 0.3)
    low, high = wer_interval(utterances)
    expected = kaldialign.bootstrap_wer_ci([u.ref for u in utterances], [u.hyp for u in utterances])
    width = expected["ci95max"] - expected["ci95min"]
    assert low == pytest.approx(expected["ci95min"], abs=0.05 * width)
    assert high == pytest.approx(expected["ci95max"], abs=0.05 * width)


def test_equal_seeds_give_equal_intervals_and_others_similar_ones() -> None:
    utterances = make_utterances(100, 0.2)
    assert wer_interval(utterances, seed=3) == wer_interval(utterances, seed=3)
    assert wer_interval(utterances, seed=3) != wer_interval(utterances, seed=4)
    assert wer_interval(utterances, seed=3) == pytest.approx(wer_interval(utterances, seed=4), abs=0.01)


def test_result_does_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap_rates([[1, 0, 2]], [4, 5, 6], 50, seed=1)
    monkeypatch.setattr("augmem.scoring.intervals.BLOCK", 9)
    assert np.array_equal(whole, bootstrap_rates([[1, 0, 2]], [4, 5, 6], 50, seed=1))


def test_resampling_sessions_widens_the_interval_when_sessions_differ() -> None:
    good = [Utterance(f"g{i}", "s", ["A"] * 9, ["A"] * 9, f"good{i % 3}") for i in range(60)]
    bad = [Utterance(f"b{i}", "s", ["A"] * 9, ["B"] * 9, f"bad{i % 3}") for i in range(60)]
    narrow, wide = (wer_interval(good + bad, unit) for unit in ("utterance", "session"))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1), st.integers(1, 40))
def test_interval_stays_within_the_rates_of_single_utterances(wrong: float, number: int) -> None:
    utterances = make_utterances(number, wrong, seed=number)
    rates = [u.counts.rate for u in utterances]
    low, high = wer_interval(utterances, replications=200)
    assert min(rates) - 1e-9 <= low <= high <= max(rates) + 1e-9


def test_intervals_contain_the_true_rate() -> None:
    hits = 0
    for seed in range(100):
        low, high = wer_interval(make_utterances(60, 0.25, seed=seed), replications=300, seed=seed)
        hits += low <= 0.25 <= high
    assert hits >= 88  # expected 95; less than 88 by chance: about 1 in 300


def test_draws_without_words_are_left_out() -> None:
    empty = Utterance("e", "s", [], ["WELL"])
    spoken = Utterance("f", "s", ["A", "B"], ["A", "B"])
    low, high = wer_interval([empty, spoken], replications=500)
    assert math.isfinite(low) and math.isfinite(high)
    assert all(math.isnan(end) for end in percentile_interval(np.array([math.nan])))

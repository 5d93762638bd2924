"""Significance tests on systems with a known difference."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augmem.errors import UserError
from augmem.scoring import Utterance, align, compare, comparison_text
from augmem.scoring.comparison import _segments, matched_pairs

QUICK = 1000  # replications


def decode(wrong: float, seed: int, number: int = 150) -> list[Utterance]:
    """Return sentences of ten words; each word is wrong with probability `wrong`."""
    rng = random.Random(seed)
    ref = list("ABCDEFGHIJ")
    return [
        Utterance(f"u{i:03}", "JOE", ref, [word if rng.random() > wrong else "X" for word in ref])
        for i in range(number)
    ]


def test_a_much_better_system_is_significant_in_both_tests() -> None:
    result = compare(decode(0.4, 1), decode(0.2, 2), replications=QUICK)
    assert result.significant
    assert result.bootstrap.improvement > 0.99 and result.bootstrap.interval.high < 0
    assert result.matched_pairs.z < -5


def test_exchanging_the_systems_changes_the_signs() -> None:
    a, b = decode(0.3, 1), decode(0.25, 2)
    ab, ba = compare(a, b, replications=QUICK), compare(b, a, replications=QUICK)
    assert ab.matched_pairs.z == pytest.approx(-ba.matched_pairs.z)
    assert ab.bootstrap.improvement == pytest.approx(1 - ba.bootstrap.improvement)
    assert ab.bootstrap.interval.low == pytest.approx(-ba.bootstrap.interval.high)


def test_a_system_does_not_differ_from_itself() -> None:
    result = compare(decode(0.3, 1), decode(0.3, 1), replications=QUICK)
    assert not result.significant and result.bootstrap.p_value == result.matched_pairs.p_value == 1.0
    assert result.differences == [] and result.same == 150


def test_rate_of_false_alarms_is_about_five_percent() -> None:
    alarms = sum(
        compare(decode(0.3, 2 * seed, 60), decode(0.3, 2 * seed + 1, 60), replications=QUICK).matched_pairs.p_value
        < 0.05
        for seed in range(100)
    )
    assert alarms <= 13  # expected 5; more than 13 by chance: about 1 in 3000


def test_segments_end_at_two_words_correct_in_both_systems() -> None:
    ref = list("ABCDEFGH")
    a = align(ref, list("XBCDEFGX"))
    b = align(ref, list("ABXDEXGX"))
    # System a has errors at A and H, system b at C, F and H. Only D E end a segment: between A and C there is one word.
    assert list(_segments(a, b)) == [(1, 1), (1, 2)]


def test_insertions_are_counted_at_their_position() -> None:
    ref = list("ABCD")
    a, b = align(ref, list("ABZCD")), align(ref, list("ABCDZ"))
    assert list(_segments(a, b)) == [(1, 0), (0, 1)]


SENTENCES = st.lists(st.sampled_from(["A", "B", "C"]), max_size=10)


@given(SENTENCES, SENTENCES, SENTENCES)
def test_segments_contain_every_error_once(ref: list[str], one: list[str], two: list[str]) -> None:
    a, b = Utterance("u", "s", ref, one), Utterance("u", "s", ref, two)
    segments = list(_segments(a.steps, b.steps))
    assert sum(errors for errors, _ in segments) == a.counts.errors
    assert sum(errors for _, errors in segments) == b.counts.errors


def test_segments_with_equal_differences_use_the_sign_test() -> None:
    pairs = [(Utterance(f"{i}", "s", ["A"], ["B"]), Utterance(f"{i}", "s", ["A"], ["A"])) for i in range(3)]
    assert matched_pairs(pairs).p_value == pytest.approx(0.25)
    assert matched_pairs([]).p_value == 1.0


def test_different_test_sets_are_refused() -> None:
    a = decode(0.1, 1, 3)
    with pytest.raises(UserError, match="u002"):
        compare(a, a[:2])
    with pytest.raises(UserError, match=r"u000.*normalise"):
        compare(a, [Utterance("u000", "JOE", ["OTHER"], []), *a[1:]])
    with pytest.raises(UserError):
        compare([], [])


def test_text_contains_significance_and_largest_differences() -> None:
    good = [Utterance("u1", "s", ["A", "B"], ["A", "B"]), Utterance("u2", "s", ["C"], ["C"])]
    bad = [Utterance("u1", "s", ["A", "B"], []), Utterance("u2", "s", ["C"], ["C"])]
    text = comparison_text(compare(bad, good, "first pass", "rescored", QUICK))
    assert "A = first pass: WER 66.67 %" in text and "B = rescored: WER 0.00 %" in text
    assert "not significant" in text and "1 better in B, 0 better in A, 1 equal" in text
    assert "B  : A B" in text

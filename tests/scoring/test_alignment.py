"""Alignments and error counts, compared with jiwer, kaldialign and a reference edit distance."""

import math
from itertools import pairwise

import jiwer
import kaldialign
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augmem.scoring.alignment import (
    GAP,
    Counts,
    Utterance,
    align,
    as_characters,
    count,
    format_alignment,
    merge_errors,
)

WORDS = st.sampled_from(["A", "B", "C", "DO", "RE", "*", "IT'S"])
SENTENCES = st.lists(WORDS, max_size=12)


def levenshtein(ref: list[str], hyp: list[str]) -> int:
    """Compute the edit distance by dynamic programming."""
    row = list(range(len(hyp) + 1))
    for i, word in enumerate(ref, 1):
        last, row[0] = row[0], i
        for j, other in enumerate(hyp, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (word != other))
    return row[-1]


def utterance(ref: str, hyp: str, name: str = "u1", speaker: str = "JOE") -> Utterance:
    return Utterance(name, speaker, ref.split(), hyp.split())


@given(SENTENCES, SENTENCES)
def test_alignment_contains_all_words_and_has_the_fewest_edits(ref: list[str], hyp: list[str]) -> None:
    steps = align(ref, hyp)
    assert [step.ref for step in steps if step.ref != GAP] == ref
    assert [step.hyp for step in steps if step.hyp != GAP] == hyp
    assert count(steps).errors == levenshtein(ref, hyp)


@given(SENTENCES, SENTENCES)
def test_counts_equal_the_edit_distance_of_kaldialign(ref: list[str], hyp: list[str]) -> None:
    actual, expected = count(align(ref, hyp)), kaldialign.edit_distance(ref, hyp)
    assert actual.errors == expected["total"]
    assert actual.insertions - actual.deletions == expected["ins"] - expected["del"] == len(hyp) - len(ref)
    assert actual.words == expected["ref_len"]


@given(st.lists(st.tuples(st.lists(WORDS, min_size=1, max_size=12), SENTENCES), min_size=1, max_size=6))
def test_error_rates_equal_those_of_jiwer(pairs: list[tuple[list[str], list[str]]]) -> None:
    utterances = [Utterance(str(i), "JOE", ref, hyp) for i, (ref, hyp) in enumerate(pairs)]
    refs, hyps = [" ".join(ref) for ref, _ in pairs], [" ".join(hyp) for _, hyp in pairs]
    words = sum((u.counts for u in utterances), Counts())
    assert words.rate == pytest.approx(jiwer.wer(refs, hyps))
    letters = sum((as_characters(u).counts for u in utterances), Counts())
    spaceless = jiwer.cer([ref.replace(" ", "") for ref in refs], [hyp.replace(" ", "") for hyp in hyps])
    assert letters.rate == pytest.approx(spaceless)


def test_substitutions_deletions_and_insertions_are_counted() -> None:
    counts = utterance("THE QUICK BROWN FOX", "A QUICK FOX JUMPS").counts
    assert counts == Counts(hits=2, substitutions=1, deletions=1, insertions=1)
    assert counts.rate == pytest.approx(3 / 4)


def test_rate_without_reference_words_is_nan() -> None:
    assert math.isnan(utterance("", "WELL").counts.rate)


@pytest.mark.parametrize("bad", [["TWO WORDS"], [""], "A STRING", [" A"]])
def test_invalid_words_raise_an_error_with_the_utterance(bad: list[str]) -> None:
    with pytest.raises(ValueError, match="utterance u7"):
        Utterance("u7", "JOE", bad, [])


@given(SENTENCES, SENTENCES)
def test_merged_errors_contain_all_words_and_are_not_adjacent(ref: list[str], hyp: list[str]) -> None:
    merged = merge_errors(align(ref, hyp))
    assert " ".join(a for a, _ in merged if a).split() == ref
    assert " ".join(b for _, b in merged if b).split() == hyp
    wrong = [a != b for a, b in merged]
    assert (True, True) not in pairwise(wrong)


def test_formatted_alignment_has_columns() -> None:
    assert format_alignment(utterance("THE QUICK RED FOX", "QUICK BAD FOX JUMPS")).splitlines() == [
        "u1 (JOE): 3 errors in 4 words (1 ins, 1 del, 1 sub)",
        "REF: THE QUICK RED FOX *****",
        "HYP: *** QUICK BAD FOX JUMPS",
        "     D         S       I",
    ]


@given(SENTENCES, SENTENCES)
def test_formatted_alignment_is_wrapped_to_the_width(ref: list[str], hyp: list[str]) -> None:
    lines = format_alignment(Utterance("u", "s", ref, hyp), width=30).splitlines()[1:]
    assert all(len(line) <= 30 for line in lines)
    words = " ".join(line.removeprefix("REF:") for line in lines if line.startswith("REF:")).split()
    assert [word for word in words if set(word) != {"*"}] == [word for word in ref if word != "*"]

"""Counts and alignments against jiwer, kaldialign and a by-the-book edit distance."""

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
    """The textbook recurrence, written without a thought for speed."""
    row = list(range(len(hyp) + 1))
    for i, word in enumerate(ref, 1):
        last, row[0] = row[0], i
        for j, other in enumerate(hyp, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (word != other))
    return row[-1]


def utterance(ref: str, hyp: str, name: str = "u1", speaker: str = "JOE") -> Utterance:
    return Utterance(name, speaker, ref.split(), hyp.split())


@given(SENTENCES, SENTENCES)
def test_alignment_spells_both_sides_and_is_the_cheapest(ref: list[str], hyp: list[str]) -> None:
    steps = align(ref, hyp)
    assert [step.ref for step in steps if step.ref != GAP] == ref
    assert [step.hyp for step in steps if step.hyp != GAP] == hyp
    assert count(steps).errors == levenshtein(ref, hyp)


@given(SENTENCES, SENTENCES)
def test_counts_equal_kaldialigns_edit_distance(ref: list[str], hyp: list[str]) -> None:
    ours, theirs = count(align(ref, hyp)), kaldialign.edit_distance(ref, hyp)
    assert ours.errors == theirs["total"]
    assert ours.insertions - ours.deletions == theirs["ins"] - theirs["del"] == len(hyp) - len(ref)
    assert ours.words == theirs["ref_len"]


@given(st.lists(st.tuples(st.lists(WORDS, min_size=1, max_size=12), SENTENCES), min_size=1, max_size=6))
def test_error_rate_equals_jiwers(pairs: list[tuple[list[str], list[str]]]) -> None:
    utterances = [Utterance(str(i), "JOE", ref, hyp) for i, (ref, hyp) in enumerate(pairs)]
    refs, hyps = [" ".join(ref) for ref, _ in pairs], [" ".join(hyp) for _, hyp in pairs]
    words = sum((u.counts for u in utterances), Counts())
    assert words.rate == pytest.approx(jiwer.wer(refs, hyps))
    letters = sum((as_characters(u).counts for u in utterances), Counts())
    spaceless = jiwer.cer([ref.replace(" ", "") for ref in refs], [hyp.replace(" ", "") for hyp in hyps])
    assert letters.rate == pytest.approx(spaceless)


def test_the_three_kinds_of_error() -> None:
    counts = utterance("THE QUICK BROWN FOX", "A QUICK FOX JUMPS").counts
    assert counts == Counts(hits=2, substitutions=1, deletions=1, insertions=1)
    assert counts.rate == pytest.approx(3 / 4)


def test_rate_without_reference_is_not_a_number_rather_than_a_lie() -> None:
    assert math.isnan(utterance("", "WELL").counts.rate)


@pytest.mark.parametrize("bad", [["TWO WORDS"], [""], "A STRING", [" A"]])
def test_what_is_not_a_list_of_words_is_refused_by_name(bad: list[str]) -> None:
    with pytest.raises(ValueError, match="utterance u7"):
        Utterance("u7", "JOE", bad, [])


@given(SENTENCES, SENTENCES)
def test_merged_errors_keep_every_word_and_leave_no_two_errors_side_by_side(ref: list[str], hyp: list[str]) -> None:
    merged = merge_errors(align(ref, hyp))
    assert " ".join(a for a, _ in merged if a).split() == ref
    assert " ".join(b for _, b in merged if b).split() == hyp
    wrong = [a != b for a, b in merged]
    assert (True, True) not in pairwise(wrong)


def test_readable_alignment_stands_in_columns() -> None:
    assert format_alignment(utterance("THE QUICK RED FOX", "QUICK BAD FOX JUMPS")).splitlines() == [
        "u1 (JOE): 3 errors in 4 words (1 ins, 1 del, 1 sub)",
        "REF: THE QUICK RED FOX *****",
        "HYP: *** QUICK BAD FOX JUMPS",
        "     D         S       I",
    ]


@given(SENTENCES, SENTENCES)
def test_readable_alignment_is_folded_to_the_width(ref: list[str], hyp: list[str]) -> None:
    lines = format_alignment(Utterance("u", "s", ref, hyp), width=30).splitlines()[1:]
    assert all(len(line) <= 30 for line in lines)
    said = " ".join(line.removeprefix("REF:") for line in lines if line.startswith("REF:")).split()
    assert [word for word in said if set(word) != {"*"}] == [word for word in ref if word != "*"]

"""Files of other programs: recogs and errs of icefall, trn and ctm of NIST."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augmem.errors import UserError
from augmem.scoring import (
    TimedWord,
    Utterance,
    read_recogs,
    write_ctm,
    write_errs,
    write_kaldi_text,
    write_recogs,
    write_trn,
)
from augmem.scoring.icefall import confusions
from tests.ctm import read_ctm

UTTERANCES = [
    Utterance("a-1", "JOE", ["HELLO", "THERE", "MY", "QUEEN"], ["HELLO", "THEIR", "MY", "QUEEN"]),
    Utterance("a-2", "JOE", ["GO", "TO", "THE", "BAR"], ["GO", "THE", "BAR", "NOW"]),
    Utterance("a-3", "LOLA", ["IT'S", "FINE"], []),
]

# Output of write_error_stats of icefall for these utterances, written by hand.
ERRS = """%WER = 50.00
Errors: 1 insertions, 3 deletions, 1 substitutions, over 10 reference words (6 correct)
Search below for sections starting with PER-UTT DETAILS:, SUBSTITUTIONS:, DELETIONS:, INSERTIONS:, PER-WORD STATS:

PER-UTT DETAILS: corr or (ref->hyp)  
a-1:\tHELLO (THERE->THEIR) MY QUEEN
a-2:\tGO (TO->*) THE BAR (*->NOW)
a-3:\t(IT'S FINE->*)

SUBSTITUTIONS: count ref -> hyp
1   THERE -> THEIR

DELETIONS: count ref
1   TO
1   IT'S
1   FINE

INSERTIONS: count hyp
1   NOW

PER-WORD STATS: word  corr tot_errs count_in_ref count_in_hyp
TO   0 1 1 0
THERE   0 1 1 0
THEIR   0 1 0 1
NOW   0 1 0 1
IT'S   0 1 1 0
FINE   0 1 1 0
THE   1 0 1 1
QUEEN   1 0 1 1
MY   1 0 1 1
HELLO   1 0 1 1
GO   1 0 1 1
BAR   1 0 1 1
"""  # noqa: W291 - icefall writes two spaces after a heading


def test_errs_file_equals_that_of_icefall(tmp_path: Path) -> None:
    write_errs(tmp_path / "errs.txt", UTTERANCES)
    assert (tmp_path / "errs.txt").read_text() == ERRS


def test_recogs_file_has_the_format_of_icefall(tmp_path: Path) -> None:
    write_recogs(tmp_path / "recogs.txt", UTTERANCES)
    assert (tmp_path / "recogs.txt").read_text().splitlines()[-3:] == [
        "a-2:\thyp=['GO', 'THE', 'BAR', 'NOW']",
        "a-3:\tref=[\"IT'S\", 'FINE']",
        "a-3:\thyp=[]",
    ]


def test_recogs_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "recogs.txt"
    write_recogs(path, UTTERANCES)
    assert read_recogs(path, {"a-1": "JOE", "a-2": "JOE", "a-3": "LOLA"}) == UTTERANCES
    assert read_recogs(path)[0].speaker == "unknown"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a:\tref=['A']\n", "odd"),
        ("a:\tref=['A']\nb:\thyp=['A']\n", "line 2.*'b' follows ref= of 'a'"),
        ("a:\tref=['A']\na:\thyp=['A'\n", "line 2"),
        ("a:\tref=[A]\na:\thyp=[]\n", "line 1"),
        ("a ref\na hyp\n", "line 1"),
        ("a:\tref=['A']\na:\thyp=[1]\n", "line 2"),
        ("a:\tref=['A B']\na:\thyp=[]\n", "line 1"),
        ("a:\tref=['A']\na:\thyp=['\udcff']\n", "line 2: not UTF-8"),
    ],
)
def test_error_in_a_recogs_file_names_file_and_line(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "recogs.txt"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=rf"recogs\.txt.*{fault}"):
        read_recogs(path)


SENTENCES = st.lists(st.sampled_from(["A", "B", "C", "D"]), max_size=8)


@given(st.lists(st.tuples(SENTENCES, SENTENCES), max_size=6))
def test_confusions_sum_to_the_numbers_of_words(pairs: list[tuple[list[str], list[str]]]) -> None:
    wrong = confusions(Utterance(str(i), "s", *pair) for i, pair in enumerate(pairs))
    substituted = sum(wrong.substitutions.values())
    assert wrong.hits.total() + substituted + wrong.deletions.total() == sum(len(ref) for ref, _ in pairs)
    assert wrong.hits.total() + substituted + wrong.insertions.total() == sum(len(hyp) for _, hyp in pairs)
    assert all(ref != hyp for ref, hyp in wrong.substitutions)


def test_trn_names_are_valid_in_sclite(tmp_path: Path) -> None:
    write_trn(tmp_path / "x.trn", [Utterance("a-1 (b)", "OLD-JOE", ["HI"], [])], "ref")
    write_trn(tmp_path / "y.trn", [Utterance("a-1", "JOE", ["HI"], [])], "hyp")
    assert (tmp_path / "x.trn").read_text() == "HI (OLD_JOE-a-1_[b])\n"
    assert (tmp_path / "y.trn").read_text() == "(JOE-a-1)\n"


def test_kaldi_text_is_sorted_by_bytes(tmp_path: Path) -> None:
    utterances = [Utterance("b", "JOE", ["HI"], []), Utterance("B", "JOE", ["GO", "ON"], ["GONE"])]
    write_kaldi_text(tmp_path / "ref", utterances, "ref")
    write_kaldi_text(tmp_path / "hyp", utterances, "hyp")
    assert (tmp_path / "ref").read_text() == "B GO ON\nb HI\n"
    assert (tmp_path / "hyp").read_text() == "B GONE\nb\n"


def test_ctm_is_sorted_and_read_back(tmp_path: Path) -> None:
    words = [
        TimedWord("rec2", 0.0, 0.5, "A"),
        TimedWord("rec1", 1.25, 0.1, "C", 0.5),
        TimedWord("rec1", 0.5, 0.2, "B"),
    ]
    path = tmp_path / "x.ctm"
    write_ctm(path, words)
    assert path.read_text().splitlines()[0] == "rec1 1 0.50 0.20 B 1.0000"
    assert read_ctm(path) == [words[2], words[1], words[0]]

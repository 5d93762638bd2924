"""Dictionaries: what is read, how faults are told, and disambiguation symbols."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augmem.lang import load_cmudict, read_lexicon
from augmem.lang.lexicon import add_disambiguation, phones_of

PHONES = st.lists(st.sampled_from(["A", "B", "C"]), min_size=1, max_size=4).map(tuple)


def test_cmudict_has_its_words_and_39_phones() -> None:
    lexicon = load_cmudict()
    assert len(lexicon) > 120_000
    assert len(phones_of(lexicon)) == 39
    assert lexicon["TOMATO"] == [("T", "AH", "M", "EY", "T", "OW"), ("T", "AH", "M", "AA", "T", "OW")]
    assert lexicon["'EM"] == [("AH", "M")]


def test_numbered_and_repeated_variants_case_stress_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text(";;; a comment\nread R EH1 D\nREAD(2)\tR IY1 D\nRead R EH D\n<UNK> SPN\n\na. EY\n")
    assert read_lexicon(path) == {"READ": [("R", "EH", "D"), ("R", "IY", "D")]}


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        (b"GOOD G UH D\nBAD\n", 2, "BAD has no pronunciation"),
        (b"GOOD G UH D\n\nODD AA #1\n", 3, "#1 is a reserved symbol"),
        (b"ODD <eps> D\n", 1, "<eps> is a reserved symbol"),
        (b"GOOD G UH D\nCAF\xe9 K\n", 2, "not UTF-8"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, text: bytes, line: int, fault: str) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=rf"mine\.txt:{line}: {fault}"):
        read_lexicon(path)


def test_a_missing_or_empty_lexicon_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_lexicon(tmp_path / "none")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ValueError, match="no usable entry"):
        read_lexicon(tmp_path / "empty")


@given(st.lists(st.tuples(st.sampled_from("VWXYZ"), PHONES), unique=True))
def test_disambiguated_pronunciations_are_distinct_and_prefix_free(entries: list) -> None:
    distinct, highest = add_disambiguation(entries)
    forms = [phones for _, phones in distinct]
    assert not any(a == b[: len(a)] for i, a in enumerate(forms) for j, b in enumerate(forms) if i != j)
    assert [(word, tuple(p for p in phones if p[0] != "#")) for word, phones in distinct] == entries
    marks = {phone for phones in forms for phone in phones if phone[0] == "#"}
    assert marks == {f"#{i}" for i in range(1, highest + 1)}


def test_words_that_need_no_mark_get_none() -> None:
    entries = [("A", ("X", "Y")), ("B", ("Z",))]
    assert add_disambiguation(entries) == (entries, 0)

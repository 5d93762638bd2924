"""Lexicons: supported formats, errors with file and line, disambiguation symbols."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augmem.errors import UserError
from augmem.lang import Normalisation, load_cmudict, read_lexicon
from augmem.lang.lexicon import add_disambiguation, collect_phones

PHONES = st.lists(st.sampled_from(["A", "B", "C"]), min_size=1, max_size=4).map(tuple)


def test_cmudict_has_its_words_and_39_phones() -> None:
    lexicon = load_cmudict()
    assert len(lexicon) > 120_000
    assert len(collect_phones(lexicon)) == 39
    assert lexicon["TOMATO"] == [("T", "AH", "M", "EY", "T", "OW"), ("T", "AH", "M", "AA", "T", "OW")]
    assert lexicon["'EM"] == [("AH", "M")]


@pytest.mark.parametrize(
    "text",
    [
        "CAT K AE T\n# A COMMENT\nDOG D AO G # an animal\n",
        "CAT 1.0 K AE T\nDOG 0.25 D AO G\n",
        "CAT 0.9 0.3 1.2 0.8 K AE1 T\nDOG 1.0 0.5 1.0 1.0 D AO G\n",
        "cat\t0.99\t0.05\t1.0\t0.9\tK AE T\ndog\t1e-05\t0.0\t1.0\t1.0\tD AO G\n",
    ],
    ids=["comments", "lexiconp", "lexiconp_silprob", "Montreal Forced Aligner"],
)
def test_comments_and_probabilities_are_not_phones(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text(text)
    assert read_lexicon(path) == {"CAT": [("K", "AE", "T")], "DOG": [("D", "AO", "G")]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Gr\u00fc\u00dfe g \u0281 y\u02d0 s @\n", {"gr\u00fc\u00dfe": [("g", "\u0281", "y\u02d0", "s", "@")]}),
        ("Tu\u0308r 1.0 t_h y: 6\n", {"t\u00fcr": [("t_h", "y:", "6")]}),  # X-SAMPA
        ("\u4f60 N I3\n\u6069 AH1 N\n", {"\u4f60": [("N", "I3")], "\u6069": [("AH1", "N")]}),
        ("\u0643\u062a\u0627\u0628 k i t a: b\n", {"\u0643\u062a\u0627\u0628": [("k", "i", "t", "a:", "b")]}),
    ],
    ids=["German", "decomposed", "tones", "Arabic"],
)  # fmt: skip
def test_lexicons_of_other_languages(tmp_path: Path, text: str, expected: dict[str, list[tuple[str, ...]]]) -> None:
    (tmp_path / "mine.txt").write_text(text)
    assert read_lexicon(tmp_path / "mine.txt", Normalisation("unicode")) == expected


def test_a_lexicon_of_another_script_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("\u4f60 n i3\n")
    with pytest.raises(UserError, match=r"no word of it can occur in normalised text .*--corpus.normalisation unicode"):
        read_lexicon(tmp_path / "mine.txt")


def test_phones_in_upper_and_lower_case_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text("HELLO hh ah0 l ow1\nhello HH AH L OW\n")
    with pytest.raises(UserError, match=r"lexicon\.txt:2: phone HH is hh in lines above"):
        read_lexicon(path)


def test_numbered_and_repeated_variants_case_stress_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text(";;; a comment\nread R EH1 D\nREAD(2)\tR IY1 D\nRead R EH D\n<UNK> SPN\n\na. EY\n")
    assert read_lexicon(path) == {"READ": [("R", "EH", "D"), ("R", "IY", "D")]}


@pytest.mark.parametrize(
    ("text", "line", "error"),
    [
        (b"GOOD G UH D\nBAD\n", 2, "BAD has no pronunciation"),
        (b"GOOD G UH D\n\nODD AA #1\n", 3, "#1 is a reserved symbol"),
        (b"ODD <eps> D\n", 1, "<eps> is a reserved symbol"),
        (b"GOOD G UH D\nODD AA 0.5 D\n", 2, "phone 0.5 is a number"),
        (b"ODD 12 AA\n", 1, "phone 12 is a number"),
        (b"GOOD G UH D\nCAF\xe9 K\n", 2, "not UTF-8"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, text: bytes, line: int, error: str) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(text)
    with pytest.raises(UserError, match=rf"mine\.txt:{line}: {error}"):
        read_lexicon(path)


def test_a_missing_or_empty_lexicon_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_lexicon(tmp_path / "none")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(UserError, match="no usable entry"):
        read_lexicon(tmp_path / "empty")


@given(st.lists(st.tuples(st.sampled_from("VWXYZ"), PHONES), unique=True))
def test_disambiguated_pronunciations_are_distinct_and_prefix_free(entries: list) -> None:
    distinct, highest = add_disambiguation(entries)
    forms = [phones for _, phones in distinct]
    assert not any(a == b[: len(a)] for i, a in enumerate(forms) for j, b in enumerate(forms) if i != j)
    assert [(word, tuple(p for p in phones if p[0] != "#")) for word, phones in distinct] == entries
    marks = {phone for phones in forms for phone in phones if phone[0] == "#"}
    assert marks == {f"#{i}" for i in range(1, highest + 1)}


def test_words_that_need_no_symbol_get_none() -> None:
    entries = [("A", ("X", "Y")), ("B", ("Z",))]
    assert add_disambiguation(entries) == (entries, 0)

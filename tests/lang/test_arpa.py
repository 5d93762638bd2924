"""ARPA files: the kinds that users bring, and faults with file and line."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import kenlm
import numpy as np
import pytest

from augmem.errors import UserError
from augmem.lang import read_model
from augmem.lang.arpa import copy_arpa, read_vocabulary

TINY = """\\data\\
ngram 1=3
ngram 2=1

\\1-grams:
-0.5\tA\t-0.2
-0.5\t</s>
-99\t<s>\t-0.1

\\2-grams:
-0.3\tA A

\\end\\
"""


def test_back_off_by_hand(tmp_path: Path) -> None:
    (tmp_path / "tiny.arpa").write_text(TINY)
    model = read_model(tmp_path / "tiny.arpa")
    a, end, start = (model.words.index(word) for word in ("A", "</s>", "<s>"))
    scores = model.score(np.array([[start, a], [a, a], [a, end]]))
    assert scores.tolist() == pytest.approx([-0.1 - 0.5, -0.3, -0.2 - 0.5])


@pytest.mark.parametrize(
    "convert",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: ("Made by a toolkit.\nBegin of data mark: \\data\\\n\\1-grams:\np_1 wd_1\n\n" + text).encode(),
        lambda text: text.replace("\t", " ").replace("A A", "A A ").replace("1=3", "1 = 3").encode(),
        lambda text: gzip.compress(text.encode()),
        lambda text: lzma.compress(text.encode()),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
    ],
    ids=["CRLF", "text before", "blanks", "gzip", "xz", "byte order mark"],
)
def test_copies_are_equal_for_all_tools(tmp_path: Path, convert: Callable[[str], bytes]) -> None:
    plain, given, copied = (tmp_path / name for name in ("plain.arpa", "given.arpa", "copy.arpa"))
    plain.write_text(TINY)
    given.write_bytes(convert(TINY))
    assert copy_arpa(given, copied, {"A"}) == 0
    assert kenlm.Model(str(copied)).score("A A") == kenlm.Model(str(plain)).score("A A")
    assert [level.logprob.tolist() for level in read_model(given).levels] == [
        level.logprob.tolist() for level in read_model(plain).levels
    ]


def test_white_space_beyond_ascii_is_part_of_a_word(tmp_path: Path) -> None:
    path = tmp_path / "tiny.arpa"
    path.write_text(TINY.replace("1=3", "1=4").replace("-0.5\tA", "-0.6\t10\u00a0000\n-0.5\tA"))
    assert read_vocabulary(path) == ["10\u00a0000", "A"]


def test_ngrams_with_words_outside_the_vocabulary_are_counted(tmp_path: Path) -> None:
    (tmp_path / "tiny.arpa").write_text(TINY)
    assert copy_arpa(tmp_path / "tiny.arpa", tmp_path / "copy.arpa", {"B"}) == 2


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("\\end\\\n", "", r"tiny\.arpa:\d+: the file ends before"),
        ("-0.3\tA A", "-0.3\tA", r"tiny\.arpa:11: expected log10, 2 words"),
        ("-0.3\tA A", "minus\tA A", r"tiny\.arpa:11: could not convert"),
        ("-0.3\tA A", "-0.3\tA B", r"tiny\.arpa:11: 'B' is not among the 1-grams"),
        ("ngram 2=1", "ngram 2=one", r"tiny\.arpa:3: expected ngram ORDER=NUMBER, found 'ngram 2=one'"),
        ("ngram 2=1", "ngram 2=2", r"tiny\.arpa:13: 1 2-grams, but .* announces 2"),
        ("-0.5\tA", "-0.5\tA A A A", r"tiny\.arpa:6: expected log10, 1 words"),
        ("</s>", "B", r"tiny\.arpa:10: the 1-grams lack </s>; train the model on one sentence a line"),
        ("A A", "CAF\xe9 A", r"tiny\.arpa:11: not UTF-8"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, old: str, new: str, fault: str) -> None:
    path = tmp_path / "tiny.arpa"
    path.write_text(TINY.replace(old, new, 1), encoding="latin1")
    with pytest.raises(UserError, match=fault):
        read_model(path)

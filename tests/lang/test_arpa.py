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
from augmem.lang import read_arpa
from augmem.lang.arpa import copy_arpa, read_vocabulary
from augmem.lang.ngram import evaluate, write_grammar
from augmem.lang.symbols import number_symbols, write_symbols

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
    model = read_arpa(tmp_path / "tiny.arpa")
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
    assert [level.logprob.tolist() for level in read_arpa(given).levels] == [
        level.logprob.tolist() for level in read_arpa(plain).levels
    ]


def test_white_space_beyond_ascii_is_part_of_a_word(tmp_path: Path) -> None:
    path = tmp_path / "tiny.arpa"
    path.write_text(TINY.replace("1=3", "1=4").replace("-0.5\tA", "-0.6\t10\u00a0000\n-0.5\tA"))
    assert read_vocabulary(path) == ["10\u00a0000", "A"]


@pytest.mark.parametrize("number", ["-\u0663.5", "-0.5\u2028"])
def test_numbers_are_ascii(number: str, tmp_path: Path) -> None:
    path = tmp_path / "tiny.arpa"
    path.write_text(TINY.replace("-0.5\tA", f"{number}\tA"))
    with pytest.raises(UserError, match=r"tiny\.arpa:6: '.*' is not a number"):
        read_arpa(path)


def test_ngrams_with_words_outside_the_vocabulary_are_counted(tmp_path: Path) -> None:
    (tmp_path / "tiny.arpa").write_text(TINY)
    assert copy_arpa(tmp_path / "tiny.arpa", tmp_path / "copy.arpa", {"B"}) == 2


def test_back_off_weights_of_the_highest_order_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "tiny.arpa").write_text(TINY.replace("-0.3\tA A", "-0.3\tA A\t-0.7"))
    copy_arpa(tmp_path / "tiny.arpa", tmp_path / "copy.arpa", {"A"})
    assert kenlm.Model(str(tmp_path / "copy.arpa")).score("A", eos=False) == pytest.approx(-0.6)


def test_ngrams_that_the_fst_would_lose_are_a_fault(tmp_path: Path) -> None:
    trigram = "\\3-grams:\n-0.1\t<s> A A\n\n\\end"
    text = TINY.replace("ngram 2=1\n", "ngram 2=1\nngram 3=1\n").replace("\\end", trigram)
    (tmp_path / "tiny.arpa").write_text(text)
    write_symbols(tmp_path / "words.txt", number_symbols(["<eps>", "A", "#0", "<s>", "</s>"]))
    with pytest.raises(UserError, match=r"mine\.arpa\.gz: KenLM does not read it \(.*context of every 3-gram"):
        evaluate(tmp_path / "tiny.arpa", {}, set(), "mine.arpa.gz")
    with pytest.raises(UserError, match=r"mine\.arpa\.gz: 1 n-grams are lost"):
        write_grammar(tmp_path / "tiny.arpa", tmp_path / "words.txt", tmp_path / "fst.txt", "mine.arpa.gz")
    assert not (tmp_path / "fst.txt").exists()
    (tmp_path / "tiny.arpa").write_text(TINY)
    write_grammar(tmp_path / "tiny.arpa", tmp_path / "words.txt", tmp_path / "fst.txt")
    assert (tmp_path / "fst.txt").read_text().count("\t1\t1\t") == 2  # A and A A


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("\\end\\\n", "", r"tiny\.arpa:\d+: the file ends before"),
        ("-0.3\tA A", "-0.3\tA", r"tiny\.arpa:11: expected log10, 2 words"),
        ("-0.3\tA A", "minus\tA A", r"tiny\.arpa:11: 'minus' is not a number"),
        ("-0.3\tA A", "-0.3\tA B", r"tiny\.arpa:11: 'B' is not among the 1-grams"),
        ("ngram 2=1", "ngram 2=one", r"tiny\.arpa:3: expected ngram ORDER=NUMBER, found 'ngram 2=one'"),
        ("ngram 2=1", "ngram 2=2", r"tiny\.arpa:13: 1 2-grams, but .* announces 2"),
        ("-0.5\tA", "-0.5\tA A A A", r"tiny\.arpa:6: expected log10, 1 words"),
        ("</s>", "B", r"tiny\.arpa:10: the 1-grams lack </s>; train the model on one sentence a line"),
        ("-0.3\tA A", "nan\tA A", r"tiny\.arpa:11: nan is not a finite number"),
        ("-0.3\tA A", "0.3\tA A", r"tiny\.arpa:11: log10 0\.3 is a probability above 1"),
        ("</s>", "A", r"tiny\.arpa:7: A is in two 1-grams"),
        ("2-grams", "3-grams", r"tiny\.arpa:10: \\3-grams: follows the 1-grams"),
        ("\\2-grams:\n-0.3\tA A\n", "", r"tiny\.arpa:11: there are no 2-grams"),
        ("ngram 2=1", "ngram 3=1", r"tiny\.arpa:3: ngram 3=1 is not in the order"),
        ("A A", "CAF\xe9 A", r"tiny\.arpa:11: not UTF-8"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, old: str, new: str, fault: str) -> None:
    path = tmp_path / "tiny.arpa"
    path.write_text(TINY.replace(old, new, 1), encoding="latin1")
    with pytest.raises(UserError, match=fault):
        read_arpa(path)

"""ARPA files of back-off n-gram models: reading, writing, copying."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from augmem.errors import UserError
from augmem.lang.backoff import END, MARKS, START, BackoffModel, Level
from augmem.lang.text_files import lines, write_lines

Columns = tuple[list[int], list[float], list[float]]  # ids, logprobs, backoffs
REMEDY = "make the file again"
_MAX_ORDER = 6  # of kenlm
_SECTION = re.compile(r"\\(\d+)-grams:")
_COUNT = re.compile(r"ngram\s+(\d+)\s*=\s*(\d+)")


def read_arpa(path: Path) -> BackoffModel:
    """Read an ARPA file (plain, gzip or xz).

    Raises:
        FileNotFoundError: no such file.
        UserError: a fault; the message names the file, the line and the remedy.
    """
    numbers: dict[str, int] = {}
    columns: list[Columns] = []
    for order, _, row in read_entries(path):
        if order > len(columns):
            columns.append(([], [], []))
        if order == 1:
            numbers[row[1]] = len(numbers)
        _append_entry(row, order, numbers, columns[-1])
    ngrams = [
        (np.array(ids, np.int64).reshape(-1, order), np.array(logprobs), np.array(backoffs))
        for order, (ids, logprobs, backoffs) in enumerate(columns, start=1)
    ]
    return BackoffModel.build(list(numbers), ngrams)


def _append_entry(row: Sequence[str], order: int, numbers: dict[str, int], columns: Columns) -> None:
    ids, logprobs, backoffs = columns
    ids.extend([numbers[word] for word in row[1 : order + 1]])
    logprobs.append(float(row[0]))
    backoffs.append(float(row[order + 1]) if len(row) > order + 1 else 0.0)


def read_vocabulary(path: Path) -> list[str]:
    """Return the words of an ARPA file without sentence marks and <unk>; reading stops after the 1-grams."""
    words = []
    for order, _, row in read_entries(path):
        if order > 1:
            break
        words.append(row[1])
    return [word for word in words if word not in MARKS]


def copy_arpa(source: Path, target: Path, vocabulary: Container[str]) -> int:
    """Copy an ARPA file in a form that all tools read: plain, one blank or tab between fields, no other text.

    N-grams of the highest order lose back-off weights, which mean nothing.

    Args:
        source: ARPA file, may be .gz or .xz.
        target: file to write.
        vocabulary: words of the lang folder.

    Returns:
        the number of n-grams with a word outside the vocabulary, without <unk>. They are copied too.
    """
    outside = _OutsideCounter(vocabulary)
    write_lines(target, _clean_lines(source, outside))
    return outside.count


class _OutsideCounter:
    """Counts n-grams with words outside a vocabulary, except sentence marks and <unk>."""

    def __init__(self, vocabulary: Container[str]) -> None:
        self.vocabulary, self.count = vocabulary, 0

    def add(self, words: Sequence[str]) -> None:
        self.count += not all(word in self.vocabulary or word in MARKS for word in words)


def _clean_lines(path: Path, outside: _OutsideCounter) -> Iterator[str]:
    yield "\n\\data\\"
    current, highest = 0, 0
    for order, _, row in read_entries(path, with_counts=True):
        if order == 0:
            yield " ".join(row)
            highest += 1
            continue
        while current < order:
            current += 1
            yield f"\n\\{current}-grams:"
        words = row[1 : order + 1]
        outside.add(words)
        yield "\t".join((row[0], " ".join(words), *(row[order + 1 :] if order < highest else ())))
    yield "\n\\end\\"


def read_entries(path: Path, with_counts: bool = False) -> Iterator[tuple[int, int, list[str]]]:
    """Yield (order, line number, fields) of every n-gram of an ARPA file; text before \\data\\ is skipped.

    Args:
        with_counts: also yield the lines `ngram ORDER=NUMBER`, as order 0.
    Raises:
        FileNotFoundError: no such file.
        UserError: a fault; the message names the file, the line and the remedy.
    """
    parser = _Parser(path)
    for line in lines(path):
        parser.number += 1
        row = split_fields(line)
        if not row:
            continue
        if line.startswith("\\"):
            parser.start_section(row[0])
            if parser.finished:
                return
        elif parser.order:
            parser.check_entry(row)
            yield parser.order, parser.number, row
        elif parser.inside:
            count = parser.add_count(line)
            if with_counts:
                yield 0, parser.number, ["ngram", count]
    raise parser.error("the file ends before \\end\\: it is incomplete or not an ARPA file")


class _Parser:
    """State of reading an ARPA file.

    Attributes:
        number: line number, from 1.
        order: order of the current section; 0 outside of sections.
        inside: whether \\data\\ has been read.
        finished: whether \\end\\ has been read.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.number = path, 0
        self.order, self.inside, self.finished = 0, False, False
        self._counts: list[int] = []
        self._seen, self._complete = 0, 0
        self._words: set[str] = set()

    def start_section(self, mark: str) -> None:
        """Check the section that ends here, and enter the next one."""
        self._check_section()
        if mark == "\\data\\":
            self._counts, self.inside = [], True
        section = _SECTION.match(mark) if self.inside else None
        self.order, self._seen = int(section[1][:3]) if section else 0, 0
        self.finished = self.inside and mark == "\\end\\"
        if self.order and self.order != self._complete + 1:
            raise self.error(f"\\{self.order}-grams: follows the {self._complete}-grams")
        if self.finished and any(self._counts[self._complete :]):
            raise self.error(f"there are no {self._complete + 1}-grams, but \\data\\ announces some")
        if self.finished and not self._complete:
            raise self.error("there are no 1-grams")

    def _check_section(self) -> None:
        announced = self._counts[self.order - 1] if 0 < self.order <= len(self._counts) else 0
        if self.order and self._seen != announced:
            raise self.error(f"{self._seen} {self.order}-grams, but \\data\\ announces {announced}")
        if self.order == 1 and (missing := {START, END} - self._words):
            fault = f"the 1-grams lack {' and '.join(sorted(missing))}"
            raise self.error(fault, "train the model on one sentence a line")
        self._complete = max(self._complete, self.order)

    def check_entry(self, row: Sequence[str]) -> None:
        """Check the number of fields of an n-gram, its numbers and its words."""
        if len(row) not in (self.order + 1, self.order + 2):
            raise self.error(f"expected log10, {self.order} words and an optional back-off weight")
        self._seen += 1
        self._check_numbers(row)
        if self.order == 1:
            if row[1] in self._words:
                raise self.error(f"{row[1]} is in two 1-grams")
            self._words.add(row[1])
        elif not self._words.issuperset(row[1 : self.order + 1]):
            unknown = next(word for word in row[1:] if word not in self._words)
            raise self.error(f"{unknown!r} is not among the 1-grams")

    def _check_numbers(self, row: Sequence[str]) -> None:
        for text in (row[0], *row[self.order + 1 :]):
            try:
                value = float(text if text.isascii() else "")  # not digits of other scripts
            except ValueError:
                raise self.error(f"{text!r} is not a number") from None
            if not math.isfinite(value) or "_" in text:
                raise self.error(f"{text} is not a finite number", "write -99 for impossible n-grams")
        if float(row[0]) > 0:
            raise self.error(f"log10 {row[0]} is a probability above 1")

    def add_count(self, line: str) -> str:
        """Read a line `ngram ORDER=NUMBER`; return ORDER=NUMBER."""
        found = _COUNT.fullmatch(line.strip())
        if not found:
            raise self.error(f"expected ngram ORDER=NUMBER, found {line!r}")
        if int(found[1][:3]) != len(self._counts) + 1 or len(self._counts) == _MAX_ORDER:
            raise self.error(f"{line.strip()} is not in the order 1, 2, ... up to {_MAX_ORDER}")
        self._counts.append(int(found[2][:18]))
        return f"{len(self._counts)}={found[2]}"

    def error(self, fault: str, remedy: str = REMEDY) -> UserError:
        """Return an error that names the file and the line."""
        return UserError(f"{self.path}:{self.number}: {fault}; {remedy}")


def split_fields(line: str) -> list[str]:
    """Split at blanks and tabs alone: other white space, such as U+00A0, may be part of a word."""
    return line.split() if line.isascii() else [field for field in line.replace("\t", " ").split(" ") if field]


def write_arpa(path: Path, model: BackoffModel, decimals: int = 6) -> None:
    """Write an ARPA file, compressed if its name ends in .gz or .xz.

    After each history, n-grams are sorted by falling probability: equal numbers and words in neighbouring lines
    compress best.

    Args:
        path: file to write.
        model: the model.
        decimals: decimals of the logarithms.
    """
    counts = [f"ngram {order}={count}" for order, count in enumerate(model.counts, start=1)]
    sections = (row for level in model.levels for row in _format_level(model.words, level, decimals))
    write_lines(path, chain(["", "\\data\\", *counts], sections, ["", "\\end\\"]))


def _format_level(words: Sequence[str], level: Level, decimals: int) -> Iterator[str]:
    yield from ("", f"\\{level.ids.shape[1]}-grams:")
    ranks = np.argsort(np.argsort(np.array(words)))[level.ids]
    order = np.lexsort((ranks[:, -1], -level.logprob, *ranks[:, -2::-1].T))
    for ids, logprob, backoff in zip(
        level.ids[order].tolist(), level.logprob[order].tolist(), level.backoff[order].tolist(), strict=True
    ):
        text = " ".join([words[index] for index in ids])
        weight = _format_number(backoff, decimals)
        yield f"{_format_number(logprob, decimals)}\t{text}" + (f"\t{weight}" if weight != "0" else "")


def _format_number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}".rstrip("0").rstrip(".") if round(value, decimals) else "0"

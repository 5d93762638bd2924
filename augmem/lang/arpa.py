"""ARPA files of back-off n-gram models: reading, writing, copying."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from augmem.errors import UserError
from augmem.lang.backoff import END, START, UNKNOWN_WORDS, BackoffModel, Level
from augmem.lang.text_files import lines, write_lines

REMEDY = "make the file again"
_SECTION = re.compile(r"\\(\d+)-grams:")
_COUNT = re.compile(r"ngram\s+(\d+)\s*=\s*(\d+)")


def read_model(path: Path) -> BackoffModel:
    """Read an ARPA file (plain, gzip or xz).

    Raises:
        FileNotFoundError: no such file.
        UserError: a fault; the message names the file, the line and the remedy.
    """
    numbers: dict[str, int] = {}
    columns: list[tuple[list[int], list[float], list[float]]] = []
    for order, number, row in read_entries(path):
        if order > len(columns):
            columns.append(([], [], []))
        if order == 1:
            numbers.setdefault(row[1], len(numbers))
        ids, logprobs, backoffs = columns[-1]
        try:
            ids.extend([numbers[word] for word in row[1 : order + 1]])
            logprobs.append(float(row[0]))
            backoffs.append(float(row[order + 1]) if len(row) > order + 1 else 0.0)
        except KeyError as error:
            raise UserError(f"{path}:{number}: {error} is not among the 1-grams; {REMEDY}") from error
        except ValueError as error:
            raise UserError(f"{path}:{number}: {error}; {REMEDY}") from error
    ngrams = [
        (np.array(ids, np.int64).reshape(-1, order), np.array(logprobs), np.array(backoffs))
        for order, (ids, logprobs, backoffs) in enumerate(columns, start=1)
    ]
    return BackoffModel.build(list(numbers), ngrams)


def read_vocabulary(path: Path) -> list[str]:
    """Return the words of an ARPA file without sentence marks and <unk>; reading stops after the 1-grams."""
    words = []
    for order, _, row in read_entries(path):
        if order > 1:
            break
        words.append(row[1])
    return [word for word in words if word not in (START, END, *UNKNOWN_WORDS)]


def copy_arpa(source: Path, target: Path, vocabulary: Container[str]) -> int:
    """Copy an ARPA file in a form that all tools read: plain, one blank or tab between fields, no other text.

    Returns:
        the number of n-grams with a word outside the vocabulary, <unk> apart. They are copied too.
    """
    known = _Known(vocabulary)
    write_lines(target, _clean_lines(source, known))
    return known.left_out


class _Known:
    """Counts n-grams with words outside a vocabulary."""

    def __init__(self, vocabulary: Container[str]) -> None:
        self.vocabulary, self.left_out = vocabulary, 0
        self.marks = {START, END, *UNKNOWN_WORDS}

    def count(self, words: Sequence[str]) -> None:
        self.left_out += not all(word in self.vocabulary or word in self.marks for word in words)


def _clean_lines(path: Path, known: _Known) -> Iterator[str]:
    yield "\n\\data\\"
    current = 0
    for order, _, row in read_entries(path, with_counts=True):
        if order == 0:
            yield " ".join(row)
            continue
        while current < order:
            current += 1
            yield f"\n\\{current}-grams:"
        words = row[1 : order + 1]
        known.count(words)
        yield "\t".join((row[0], " ".join(words), *row[order + 1 :]))
    yield "\n\\end\\"


def read_entries(path: Path, with_counts: bool = False) -> Iterator[tuple[int, int, list[str]]]:
    """Yield (order, line number, fields) of every n-gram of an ARPA file; text before \\data\\ is skipped.

    Args:
        with_counts: also yield the lines `ngram ORDER=NUMBER`, as order 0.
    Raises:
        FileNotFoundError: no such file.
        UserError: a fault; the message names the file, the line and the remedy.
    """
    counts: list[str] = []
    order, seen, number, inside = 0, 0, 0, False
    ends = False
    for number, line in enumerate(lines(path), start=1):
        row = split_fields(line)
        if not row:
            continue
        if line.startswith("\\"):
            _check_count(path, number, order, seen, counts)
            _check_end(path, number, order, ends)
            if row[0] == "\\data\\":
                counts, inside = [], True
            elif inside and row[0] == "\\end\\":
                return
            section = _SECTION.match(row[0]) if inside else None
            order, seen = int(section[1]) if section else 0, 0
        elif order:
            _check_length(path, number, order, row)
            ends = ends or (order == 1 and row[1] == END)
            seen += 1
            yield order, number, row
        elif inside:
            counts.append(_announced(path, number, line))
            if with_counts:
                yield 0, number, ["ngram", f"{len(counts)}={counts[-1]}"]
    raise UserError(f"{path}:{number}: the file ends before \\end\\: it is incomplete or not an ARPA file; {REMEDY}")


def split_fields(line: str) -> list[str]:
    """Split at blanks and tabs alone: other white space, such as U+00A0, may be part of a word."""
    return line.split() if line.isascii() else [field for field in line.replace("\t", " ").split(" ") if field]


def _announced(path: Path, number: int, line: str) -> str:
    found = _COUNT.fullmatch(line.strip())
    if not found:
        raise UserError(f"{path}:{number}: expected ngram ORDER=NUMBER, found {line!r}; {REMEDY}")
    return found[2]


def _check_length(path: Path, number: int, order: int, row: Sequence[str]) -> None:
    if len(row) not in (order + 1, order + 2):
        raise UserError(f"{path}:{number}: expected log10, {order} words and an optional back-off weight; {REMEDY}")


def _check_count(path: Path, number: int, order: int, seen: int, counts: Sequence[str]) -> None:
    announced = int(counts[order - 1]) if 0 < order <= len(counts) else 0
    if order and seen != announced:
        raise UserError(f"{path}:{number}: {seen} {order}-grams, but \\data\\ announces {announced}; {REMEDY}")


def _check_end(path: Path, number: int, order: int, ends: bool) -> None:
    if order == 1 and not ends:
        raise UserError(
            f"{path}:{number}: {END} is not among the 1-grams, so no sentence can end; train on one sentence per line"
        )


def write_model(path: Path, model: BackoffModel, decimals: int = 6) -> None:
    """Write an ARPA file, compressed if its name ends in .gz or .xz.

    After each history, n-grams are sorted by falling probability: equal numbers and words in neighbouring lines
    compress best.
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

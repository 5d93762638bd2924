"""ARPA files of back-off n-gram models: reading and writing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from augmem.errors import UserError
from augmem.lang.backoff import BackoffModel, Level
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


def read_entries(path: Path) -> Iterator[tuple[int, int, list[str]]]:
    """Yield (order, line number, fields) of every n-gram of an ARPA file; text before \\data\\ is skipped."""
    counts: list[int] = []
    order, seen, number, inside = 0, 0, 0, False
    for number, line in enumerate(lines(path), start=1):
        row = split_fields(line)
        if not row:
            continue
        if line.startswith("\\"):
            _check_count(path, number, order, seen, counts)
            inside = inside or row[0] == "\\data\\"
            if inside and row[0] == "\\end\\":
                return
            section = _SECTION.match(row[0]) if inside else None
            order, seen = int(section[1]) if section else 0, 0
        elif order:
            _check_length(path, number, order, row)
            seen += 1
            yield order, number, row
        elif inside:
            counts.append(_announced(path, number, line))
    raise UserError(f"{path}:{number}: the file ends before \\end\\: it is incomplete or not an ARPA file; {REMEDY}")


def split_fields(line: str) -> list[str]:
    """Split at blanks and tabs alone: other white space, such as U+00A0, may be part of a word."""
    return line.split() if line.isascii() else [field for field in line.replace("\t", " ").split(" ") if field]


def _announced(path: Path, number: int, line: str) -> int:
    found = _COUNT.fullmatch(line.strip())
    if not found:
        raise UserError(f"{path}:{number}: expected ngram ORDER=NUMBER, found {line!r}; {REMEDY}")
    return int(found[2])


def _check_length(path: Path, number: int, order: int, row: Sequence[str]) -> None:
    if len(row) not in (order + 1, order + 2):
        raise UserError(f"{path}:{number}: expected log10, {order} words and an optional back-off weight; {REMEDY}")


def _check_count(path: Path, number: int, order: int, seen: int, counts: Sequence[int]) -> None:
    announced = counts[order - 1] if 0 < order <= len(counts) else 0
    if order and seen != announced:
        raise UserError(f"{path}:{number}: {seen} {order}-grams, but \\data\\ announces {announced}; {REMEDY}")


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

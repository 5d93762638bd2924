"""Text files and tables that users bring: UTF-8, plain or compressed; errors name file, line and remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from augmem.compressed import open_compressed
from augmem.errors import UserError

OnError = Callable[[str], None]
"""Receives the message of an error in a line; reading goes on if it returns."""


def raise_error(message: str) -> None:
    """Raise a UserError."""
    raise UserError(message)


def read_lines(path: Path, on_error: OnError = raise_error) -> Iterator[tuple[int, str]]:
    """Yield (line number, line) of a UTF-8 file, without blank lines.

    Args:
        path: text file (plain, gzip or xz).
        on_error: called for every line that is not UTF-8.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: a line is not UTF-8, or the compressed file is damaged or expands without bound.
    """
    with open_compressed(path) as stream:
        content = stream.read()
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            byte = line[error.start]
            on_error(
                f"{path}:{number}: byte 0x{byte:02x} at column {error.start + 1} is not UTF-8; convert the "
                f"file, for instance: iconv -f latin1 -t utf-8 {path.name} > fixed && mv fixed {path.name}"
            )
            continue
        if text.strip():
            yield number, text


def read_table(
    path: Path, columns: tuple[str, ...], on_error: OnError = raise_error
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, {column: value}) of a tab-separated file whose first line names the columns.

    Args:
        path: UTF-8 file.
        columns: columns that must be there; others are returned too.
        on_error: called for every malformed line.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: a column is missing, or a line has too few or too many cells.
    """
    lines = read_lines(path, on_error)
    _, first = next(lines, (1, ""))
    names = first.split("\t")
    if missing := [name for name in columns if name not in names]:
        on_error(f"{path}:1: no column {', '.join(missing)}; the first line must name the columns, separated by tabs")
        return
    for number, line in lines:
        cells = line.split("\t")
        if len(cells) != len(names):
            on_error(f"{path}:{number}: {len(cells)} cells, but the first line names {len(names)} columns")
            continue
        yield number, dict(zip(names, cells, strict=True))

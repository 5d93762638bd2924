"""Reading text that others wrote: every complaint names the file and the line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, line) of a UTF-8 file, blank lines left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not UTF-8.
    """
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            byte = line[error.start]
            raise ValueError(
                f"{path}:{number}: byte 0x{byte:02x} at column {error.start + 1} is not UTF-8; convert the "
                f"file, for instance: iconv -f latin1 -t utf-8 {path.name} > fixed && mv fixed {path.name}"
            ) from error
        if text.strip():
            yield number, text


def read_table(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, {column: value}) of a tab-separated file whose first line names its columns.

    Columns beyond those asked for are passed on too.

    Raises:
        ValueError: a column is missing, or a line has too few or too many cells.
    """
    lines = read_lines(path)
    _, first = next(lines, (1, ""))
    names = first.split("\t")
    missing = [name for name in columns if name not in names]
    if missing:
        raise ValueError(
            f"{path}:1: no column {', '.join(missing)}; the first line must name the columns, by tabs apart"
        )
    for number, line in lines:
        cells = line.split("\t")
        if len(cells) != len(names):
            raise ValueError(f"{path}:{number}: {len(cells)} cells, but the first line names {len(names)} columns")
        yield number, dict(zip(names, cells, strict=True))

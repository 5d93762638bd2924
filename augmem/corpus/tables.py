"""Reading text that others wrote: every complaint names the file and the line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

Fault = Callable[[str], None]


def raise_fault(message: str) -> None:
    """What is done about a fault unless somebody collects them."""
    raise ValueError(message)


def read_lines(path: Path, fault: Fault = raise_fault) -> Iterator[tuple[int, str]]:
    """Yield (line number, line) of a UTF-8 file, blank lines left out.

    Args:
        path: the file.
        fault: hears of every line that is not UTF-8; by default it raises.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not UTF-8.
    """
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            byte = line[error.start]
            fault(
                f"{path}:{number}: byte 0x{byte:02x} at column {error.start + 1} is not UTF-8; convert the "
                f"file, for instance: iconv -f latin1 -t utf-8 {path.name} > fixed && mv fixed {path.name}"
            )
            continue
        if text.strip():
            yield number, text


def read_table(
    path: Path, columns: tuple[str, ...], fault: Fault = raise_fault
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, {column: value}) of a tab-separated file whose first line names its columns.

    Columns beyond those asked for are passed on too; `fault` hears of what is wrong, and by default raises.

    Raises:
        ValueError: a column is missing, or a line has too few or too many cells.
    """
    lines = read_lines(path, fault)
    _, first = next(lines, (1, ""))
    names = first.split("\t")
    missing = [name for name in columns if name not in names]
    if missing:
        fault(f"{path}:1: no column {', '.join(missing)}; the first line must name the columns, by tabs apart")
        return
    for number, line in lines:
        cells = line.split("\t")
        if len(cells) != len(names):
            fault(f"{path}:{number}: {len(cells)} cells, but the first line names {len(names)} columns")
            continue
        yield number, dict(zip(names, cells, strict=True))

"""Symbol tables, as icefall and Kaldi write them: one "symbol id" line each, ids from 0 without gaps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from augmem.files import write_text


def number(symbols: Iterable[str]) -> dict[str, int]:
    """Give symbols their ids in the order they come."""
    return {symbol: index for index, symbol in enumerate(symbols)}


def write_symbols(path: Path, table: Mapping[str, int]) -> None:
    """Write a symbol table in the order of its ids."""
    ordered = sorted(table.items(), key=lambda item: item[1])
    write_text(path, "".join(f"{symbol} {index}\n" for symbol, index in ordered))


def read_symbols(path: Path) -> dict[str, int]:
    """Read a symbol table.

    Raises:
        FileNotFoundError, ValueError: naming file, line, fault and remedy.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run the lang stage again")
    table: dict[str, int] = {}
    for count, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        fields = line.split()
        if len(fields) != 2 or not fields[1].isdecimal():
            raise ValueError(f'{path}:{count}: expected "symbol id", found {line!r}; run the lang stage again')
        if fields[0] in table:
            raise ValueError(f"{path}:{count}: {fields[0]} stands here twice; run the lang stage again")
        table[fields[0]] = int(fields[1])
    return table

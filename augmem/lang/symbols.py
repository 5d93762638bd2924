"""Symbol tables in the format of Kaldi and icefall: one "symbol id" line each, ids from 0 without gaps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from augmem.errors import UserError
from augmem.files import write_text


def number_symbols(symbols: Iterable[str]) -> dict[str, int]:
    """Return the ids of symbols in the given order.

    Example:
        >>> number_symbols(["<eps>", "A"])
        {'<eps>': 0, 'A': 1}
    """
    return {symbol: index for index, symbol in enumerate(symbols)}


def write_symbols(path: Path, table: Mapping[str, int]) -> None:
    """Write a symbol table in the order of its ids."""
    ordered = sorted(table.items(), key=lambda item: item[1])
    write_text(path, "".join(f"{symbol} {index}\n" for symbol, index in ordered))


def read_symbols(path: Path) -> dict[str, int]:
    """Read a symbol table.

    Raises:
        FileNotFoundError: no such file.
        UserError: a fault; the message names the file, the line and the remedy.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run the lang stage again")
    table: dict[str, int] = {}
    for count, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        fields = line.split()
        if len(fields) != 2 or not fields[1].isdecimal():
            raise UserError(f'{path}:{count}: expected "symbol id", found {line!r}; run the lang stage again')
        if fields[0] in table:
            raise UserError(f"{path}:{count}: {fields[0]} occurs twice; run the lang stage again")
        table[fields[0]] = int(fields[1])
    return table

"""Text files, plain or compressed. Reading detects gzip and xz by content; writing follows the file name."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from augmem.errors import UserError
from augmem.files import atomic_path

_MAGIC: dict[bytes, Any] = {b"\x1f\x8b": gzip, b"\xfd7zXZ\x00": lzma}
_XZ_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 4, "pb": 0}]


def lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file (plain, gzip or xz) without their ends.

    Raises:
        FileNotFoundError: no such file.
        UserError: the file is damaged or not UTF-8.
    """
    number = 0
    with open_reader(path) as stream:
        for number, raw in enumerate(stream, start=1):
            try:
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise UserError(f"{path}:{number}: not UTF-8; convert it: iconv -f latin1 -t utf-8") from error


@contextmanager
def open_reader(path: Path) -> Iterator[IO[bytes]]:
    """Open a file (plain, gzip or xz) for reading bytes.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the file is not compressed as its name says, or truncated.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; name an existing file, or remove it from the recipe")
    with path.open("rb") as plain:
        head = plain.read(6)
    opener = next((module.open for magic, module in _MAGIC.items() if head.startswith(magic)), open)
    try:
        with opener(path, "rb") as stream:
            yield stream
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"{path}: damaged compressed file ({error}); fetch it again") from error


def write_lines(path: Path, rows: Iterable[str]) -> None:
    """Write UTF-8 lines atomically, compressed if the name ends in .gz or .xz. Equal content gives equal bytes."""
    with atomic_path(path) as partial, _open_writer(partial, path.suffix) as stream:
        stream.writelines(f"{row}\n".encode() for row in rows)


def _open_writer(path: Path, suffix: str) -> Any:
    if suffix == ".xz":
        return lzma.open(path, "wb", filters=_XZ_FILTERS)
    return gzip.GzipFile(path, "wb", mtime=0) if suffix == ".gz" else path.open("wb")

"""Text files, plain or compressed. Reading detects gzip and xz by content; writing follows the file name."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from augmem.compressed import open_compressed
from augmem.errors import UserError
from augmem.files import atomic_path

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
        FileNotFoundError: no such file.
        UserError: on reading, the file is damaged or expands without bound.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give an existing file, or remove it from the recipe")
    with open_compressed(path) as stream:
        yield stream


def write_lines(path: Path, rows: Iterable[str]) -> None:
    """Write UTF-8 lines atomically, compressed if the name ends in .gz or .xz. Equal content gives equal bytes."""
    with atomic_path(path) as partial, _open_writer(partial, path.suffix) as stream:
        stream.writelines(f"{row}\n".encode() for row in rows)


def _open_writer(path: Path, suffix: str) -> Any:
    if suffix == ".xz":
        return lzma.open(path, "wb", filters=_XZ_FILTERS)
    return gzip.GzipFile(path, "wb", mtime=0) if suffix == ".gz" else path.open("wb")

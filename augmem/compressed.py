"""Compressed files of users: recognised by content, and decompressed up to a multiple of their size.

A small file can expand to any size and fill the memory, so the ratio of decompressed to compressed size is limited.
"""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from augmem.errors import UserError

MAX_RATIO = 100  # of decompressed to compressed size; tables, lexica, language models and manifests stay below 30
FREE_SIZE = 1 << 24  # bytes that a file of any size may expand to
DAMAGE = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error)
_MAGIC: dict[bytes, Any] = {b"\x1f\x8b": gzip, b"\xfd7zXZ\x00": lzma}


@contextmanager
def open_compressed(path: Path) -> Iterator[IO[bytes]]:
    """Open a file (plain, gzip or xz) for reading bytes.

    Raises:
        OSError: the file cannot be opened.
        UserError: on reading, the file is damaged, or expands to more than `MAX_RATIO` times its size.
    """
    try:
        with path.open("rb") as plain, decompress(plain, str(path)) as stream:
            yield stream
    except DAMAGE as error:
        raise UserError(f"{path}: damaged compressed file ({error}); fetch it again") from error


def decompress(stream: BinaryIO, name: str) -> IO[bytes]:
    """Return the decompressed content of a stream (plain, gzip or xz).

    Args:
        stream: seekable, at its beginning.
        name: name of the file, for messages.

    Raises:
        UserError: on reading, the content is more than `MAX_RATIO` times as long; damage raises one of `DAMAGE`.
    """
    head, size = stream.read(6), stream.seek(0, io.SEEK_END)
    stream.seek(0)
    for magic, module in _MAGIC.items():
        if head.startswith(magic):
            return limit_size(module.open(stream, "rb"), name, size)
    return stream


def limit_size(stream: IO[bytes], name: str, size: int) -> IO[bytes]:
    """Return a stream of decompressed bytes that ends with an error when they are too many for a file of this size.

    Args:
        stream: decompressed bytes.
        name: name of the file, for messages.
        size: size of the compressed file.
    """
    return io.BufferedReader(_LimitedStream(stream, name, max(FREE_SIZE, MAX_RATIO * size)), 1 << 16)


class _LimitedStream(io.RawIOBase):
    def __init__(self, stream: IO[bytes], name: str, limit: int) -> None:
        self.stream, self.file, self.limit, self.count = stream, name, limit, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self.stream.read(len(buffer))
        self.count += len(content)
        if self.count > self.limit:
            raise UserError(
                f"{self.file}: expands to over {self.limit >> 20} MB, more than {MAX_RATIO} times its size; fetch it "
                "again, or if that is right, decompress it and give the plain file"
            )
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self.stream.close()
        super().close()

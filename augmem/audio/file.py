"""An audio file, decoded to the end of its data."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from augmem.audio.headers import Layout, read_layout
from augmem.audio.mpeg import Mpeg, count_frames
from augmem.errors import UserError

Block = NDArray[np.float32]  # (n, channels)

SAMPLE_RATES = range(4000, 192001)  # Hz
MAX_PEAK = 4.0  # 12 dB above full scale: larger floats are int16 samples that were not divided by 32768
_TOLERANCE = 0.15  # s
_MP3_FRAMES = 5  # tolerance: encoders add fewer at both ends, and their count leaves these out
_READ_SIZE = 1 << 22  # samples of all channels
_UNKNOWN = 1 << 62  # frames: libsndfile's number for a stream of unknown length


class AudioFile:
    """An audio file for reading; to be used in a `with` statement.

    Sizes in an unfinished header are replaced by that of the file. The frames of an MP3 file are counted, and replace a
    missing or wrong number in its header.

    Args:
        source: path, or content, of the file.

    Attributes:
        problem: description of the damage; final when all blocks have been read. Empty: none.

    Raises:
        UserError: libsndfile cannot read the file.
    """

    def __init__(self, source: str | Path | bytes) -> None:
        self.problem = ""
        self._stream = stream = _open(source)
        try:
            layout = read_layout(stream)
            self._file = self._open(source, layout)
            if self._file.format.startswith("MP"):
                self._correct_mp3(source)
            self._check(layout)
        except (soundfile.LibsndfileError, TypeError, ValueError, struct.error) as error:
            stream.close()
            reason = str(error).split(": ")[-1].strip().rstrip(".") or "not an audio file"
            raise UserError(f"cannot be read as audio ({reason}); convert it to FLAC or WAV") from error
        except BaseException:
            stream.close()
            raise

    def _open(self, source: str | Path | bytes, layout: Layout) -> soundfile.SoundFile:
        if layout.head:
            return _ForwardFile(_PatchedFile(self._stream, layout.head, layout.skip))
        return _ForwardFile(_PatchedFile(self._stream, b"", 0) if isinstance(source, bytes) else str(source))

    def _correct_mp3(self, source: str | Path | bytes) -> None:
        mpeg = count_frames(source) if isinstance(source, bytes) else _count_file(str(source), *_version(self._stream))
        expected = self._file.frames / self._file.samplerate
        if mpeg is None or abs(expected - mpeg.seconds) <= _MP3_FRAMES * mpeg.first.samples / mpeg.first.rate:
            return
        self._file.close()
        self._file = _ForwardFile(_PatchedFile(self._stream, mpeg.count_frame(), mpeg.audio_offset))
        if mpeg.has_count and expected > mpeg.seconds:
            self.problem = _describe_truncation(expected, mpeg.seconds)

    def _check(self, layout: Layout) -> None:
        if self._file.samplerate not in SAMPLE_RATES:
            raise UserError(
                f"sampling rate {self._file.samplerate} Hz; must be from {SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]} Hz: "
                "correct its header, or convert it"
            )
        present = self._file.frames / self._file.samplerate
        if (layout.excess - 1) * present > _TOLERANCE:
            self.problem = _describe_truncation(layout.excess * present, present)
        self.problem = self.problem or layout.problem

    @property
    def rate(self) -> int:
        """Sampling rate, Hz."""
        return int(self._file.samplerate)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self._file.channels)

    @property
    def frames(self) -> int | None:
        """Samples per channel according to the header, or to the file where they differ; None: unknown."""
        frames = int(self._file.frames)
        return frames if frames < _UNKNOWN else None

    def __enter__(self) -> AudioFile:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._file.close()
        self._stream.close()

    def blocks(self, size: int) -> Iterator[Block]:
        """Yield all samples, `size` at a time, up to the end or to the first sample that cannot be decoded."""
        done, error = 0, ""
        try:
            while len(block := self._read(size)):
                done += len(block)
                yield block
        except soundfile.LibsndfileError as found:
            error = str(found).split(": ")[-1].strip().rstrip(".")
        self._check_length(done, error)

    def _check_length(self, done: int, error: str) -> None:
        if self.problem:
            return
        expected = (self.frames or done) / self.rate
        if expected - done / self.rate > _TOLERANCE:
            self.problem = _describe_truncation(expected, done / self.rate)
        elif error:
            self.problem = f"cannot be decoded after {done / self.rate:.1f} s ({error})"

    def read(self, start: int, count: int | None) -> Block:
        """Return `count` samples per channel from `start` on; None: all that follow.

        Raises:
            UserError: the file cannot be decoded there.
        """
        if self.frames is None:
            blocks = [np.zeros((0, self.channels), np.float32), *self.blocks(self.rate)]
            return np.concatenate(blocks)[start : None if count is None else start + count]
        try:
            if self._file.tell() != start:
                self._file.seek(start)
            return self._read_all(count)
        except soundfile.LibsndfileError as error:
            raise UserError(f"cannot be decoded ({str(error).split(': ')[-1].strip()})") from error

    def _read_all(self, count: int | None) -> Block:
        """Read in blocks, so that memory depends on the samples that exist and not on the number in the header."""
        pieces, left = [np.zeros((0, self.channels), np.float32)], count
        while left is None or left > 0:
            size = _READ_SIZE if left is None else min(left, _READ_SIZE)
            pieces.append(self._read(size))
            left = None if left is None else left - size
            if len(pieces[-1]) < size:
                break
        return pieces[1] if len(pieces) == 2 else np.concatenate(pieces)

    def _read(self, count: int) -> Block:
        found: Any = self._file.read(count, dtype="float32", always_2d=True)
        block: Block = found
        return block


def _open(source: str | Path | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")


def _describe_truncation(expected: float, present: float) -> str:
    return f"truncated: {expected:.1f} s in the header, {present:.1f} s in the file"


def _version(stream: BinaryIO) -> tuple[int, ...]:
    """Return numbers that change with the content of a file."""
    status = os.fstat(stream.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=1000)
def _count_file(path: str, *version: int) -> Mpeg | None:
    """Count the frames of a file; the result is cached, since a recording can have many utterances."""
    with Path(path).open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as content:
        return count_frames(content)


class _ForwardFile(soundfile.SoundFile):
    """A sound file that is not seekable if its length is unknown, since seeking fails at the end of such files."""

    def seekable(self) -> bool:
        return bool(super().seekable()) and self.frames < _UNKNOWN


class _PatchedFile(io.RawIOBase):
    """A file with its first `skip` bytes replaced by `head`, for libsndfile."""

    def __init__(self, stream: BinaryIO, head: bytes, skip: int) -> None:
        self.stream, self.head, self.skip, self.place = stream, head, skip, 0
        self.length = len(head) + stream.seek(0, io.SEEK_END) - skip

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.length}[whence]
        self.place = max(0, base + offset)  # damaged headers have offsets before the file
        return self.place

    def tell(self) -> int:
        return self.place

    def read(self, size: int = -1) -> bytes:
        size = self.length - self.place if size < 0 else size
        found = self.head[self.place : self.place + size]
        if len(found) < size:
            self.stream.seek(self.place + len(found) - len(self.head) + self.skip)
            found += self.stream.read(size - len(found))
        self.place += len(found)
        return found

    def readinto(self, buffer: Any) -> int:
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)

"""The length in the header of an audio file, compared with that of the file."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from augmem.errors import UserError

_HEAD = 1 << 16  # bytes: the longest page of Ogg, and most headers
_CHUNKS = 1000  # more before the samples are not searched


class Layout(NamedTuple):
    """Differences between a header and its file.

    Args:
        excess: expected bytes of sound divided by those in the file.
        problem: another sign of a truncated file; empty: none.
        head: bytes to read in place of the first `skip` ones: a header whose sizes are those of the file.
        skip: see `head`.
    """

    excess: float = 1.0
    problem: str = ""
    head: bytes = b""
    skip: int = 0


def read_layout(stream: BinaryIO) -> Layout:
    """Compare header and length of a WAV, AIFF, AU, Ogg or NIST sphere file; other formats are assumed to agree.

    Args:
        stream: the file, at any position.

    Raises:
        UserError: sound that is compressed by shorten.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    magic = stream.read(12)
    if magic[:4] in (b"RIFF", b"RF64", b"BW64") and magic[8:] == b"WAVE":
        return _wav(stream, size)
    if magic[:4] == b"FORM" and magic[8:] in (b"AIFF", b"AIFC"):
        return _aiff(stream, size)
    readers = {b".snd": _au, b"OggS": _ogg, b"NIST": _sphere}
    return readers[magic[:4]](stream, size) if magic[:4] in readers else Layout()


class _Chunk(NamedTuple):
    id: bytes
    start: int  # of its content
    size: int


def _chunks(stream: BinaryIO, size: int, order: str) -> Iterator[_Chunk]:
    """Yield the chunks of a RIFF or FORM file."""
    start = 12
    for _ in range(_CHUNKS):
        stream.seek(start)
        header = stream.read(8)
        if len(header) < 8:
            return
        chunk = _Chunk(header[:4], start + 8, struct.unpack(f"{order}I", header[4:])[0])
        yield chunk
        start = chunk.start + chunk.size + chunk.size % 2


def _is_placeholder(size: int) -> bool:
    """Return whether a size is a placeholder, as recorders write it before the end of the recording."""
    return size in (0, 0xFFFFFFFF) or size >> 13 in (0x3FFFF, 0x40000)  # sox, arecord: about 2 GB


def _wav(stream: BinaryIO, size: int) -> Layout:
    whole = _outer_size(stream, "<")
    long_size = 0
    for chunk in _chunks(stream, size, "<"):
        if chunk.id == b"ds64":
            stream.seek(chunk.start + 8)
            long_size = int.from_bytes(stream.read(8), "little")
        if chunk.id == b"data":
            return _compare(stream, size, chunk._replace(size=long_size or chunk.size), whole, "<")
    return Layout()


def _aiff(stream: BinaryIO, size: int) -> Layout:
    whole, common = _outer_size(stream, ">"), None
    for chunk in _chunks(stream, size, ">"):
        common = chunk if chunk.id == b"COMM" else common
        if chunk.id == b"SSND":
            layout = _compare(stream, size, chunk, whole, ">")
            return _with_frames(layout, common, size - chunk.start - 8) if layout.head and common else layout
    return Layout()


def _with_frames(layout: Layout, common: _Chunk, present: int) -> Layout:
    """Set the number of frames in an AIFF header."""
    head = bytearray(layout.head)
    channels, _, bits = struct.unpack_from(">hIh", head, common.start)
    struct.pack_into(">I", head, common.start + 2, min(0xFFFFFFFF, present // max(1, channels * ((bits + 7) // 8))))
    return layout._replace(head=bytes(head))


def _outer_size(stream: BinaryIO, order: str) -> int:
    stream.seek(4)
    return int(struct.unpack(f"{order}I", stream.read(4))[0])


def _compare(stream: BinaryIO, size: int, data: _Chunk, whole: int, order: str) -> Layout:
    """Compare the chunk of samples with the file; complete an unfinished header."""
    present = size - data.start
    if present <= 0:
        return Layout(problem="header without samples: truncated" if data.size else "")
    if not _is_placeholder(data.size):
        return Layout(excess=max(1.0, data.size / present))
    if whole + 8 in (size, size - 1):  # the header is finished: no samples before other chunks
        return Layout()
    stream.seek(0)
    head = bytearray(stream.read(data.start))
    struct.pack_into(f"{order}I", head, 4, min(size - 8, 0xFFFFFFFF))
    struct.pack_into(f"{order}I", head, data.start - 4, min(present, 0xFFFFFFFF))
    return Layout(head=bytes(head), skip=data.start)


def _au(stream: BinaryIO, size: int) -> Layout:
    stream.seek(4)
    start, expected = struct.unpack(">II", stream.read(8).ljust(8, b"\0"))
    present = size - start
    if start < 24 or present <= 0 or expected == 0xFFFFFFFF:
        return Layout()
    if expected == 0:
        stream.seek(0)
        head = bytearray(stream.read(start))
        struct.pack_into(">I", head, 8, present)
        return Layout(head=bytes(head), skip=start)
    return Layout(excess=max(1.0, expected / present))


def _ogg(stream: BinaryIO, size: int) -> Layout:
    """Check that the last page is complete and marked as the end of its stream (RFC 3533, 6)."""
    stream.seek(max(0, size - 2 * _HEAD))
    tail = stream.read()
    place = tail.rfind(b"OggS")
    header = tail[place : place + 27] if place >= 0 else b""
    if len(header) < 27:
        return Layout(problem="no last page: truncated")
    lengths = tail[place + 27 : place + 27 + header[26]]
    if len(lengths) < header[26] or place + 27 + header[26] + sum(lengths) > len(tail):
        return Layout(problem="its last page is cut: truncated")
    return Layout(problem="" if header[5] & 4 else "its last page is not the end of the stream: truncated")


def _sphere(stream: BinaryIO, size: int) -> Layout:
    stream.seek(8)
    header_size = stream.read(8).strip()
    stream.seek(0)
    head = stream.read(min(int(header_size) if header_size.isdigit() else 1024, _HEAD))
    fields = {words[0]: words[2] for line in head.splitlines() if len(words := line.split(None, 2)) == 3}
    if b"shorten" in fields.get(b"sample_coding", b""):
        raise UserError("compressed by shorten, which libsndfile does not read; convert it: sph2pipe -f wav IN OUT.wav")
    numbers = [fields.get(name, b"") for name in (b"sample_count", b"sample_n_bytes", b"channel_count")]
    present = size - len(head)
    if present <= 0 or not all(number.isdigit() for number in numbers):
        return Layout()
    count, width, channels = map(int, numbers)
    return Layout(excess=max(1.0, count * width * channels / present))

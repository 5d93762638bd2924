"""Lengths of MP3 files by counting frames, instead of an estimate from the bit rate of the first frame.

The delay and padding of an encoder are in its tag alone: without it, all frames count, and the decoder removes its own
delay (529 samples) only.

Header of a frame (ISO 11172-3, 2.4.1.3): 11 bits of synchronisation, 2 of version, 2 of layer, 1 of protection, 4 of
bit rate, 2 of sampling rate, 1 of padding. A first frame without sound can hold the number of frames ("Xing", "Info").
"""

from __future__ import annotations

from mmap import mmap
from typing import NamedTuple

_SYNC, _LAYER_3 = 0x7FF, 1
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version
_KILOBITS = {
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_KILOBITS[0] = _KILOBITS[2]
_FIELDS_AFTER_TAG = 64  # bytes; more than side information, tag, flags and count need


class Frame(NamedTuple):
    """Header of one frame of MPEG layer 3.

    Args:
        bits: the header.
        samples: samples per channel.
        rate: sampling rate, Hz.
        size: bytes of the frame.
    """

    bits: int
    samples: int
    rate: int
    size: int


class Mpeg(NamedTuple):
    """Frames of an MP3 file.

    Args:
        first: the first frame.
        start: offset of the first frame in the file.
        frames: number of frames with sound.
        tagged: the first frame holds a number of frames.
    """

    first: Frame
    start: int
    frames: int
    tagged: bool

    @property
    def seconds(self) -> float:
        """Duration of all frames."""
        return self.frames * self.first.samples / self.first.rate

    @property
    def sound(self) -> int:
        """Offset of the first frame with sound: after tags, and after a first frame with a wrong number."""
        return self.start + (self.first.size if self.tagged else 0)

    def tag(self) -> bytes:
        """Return a frame without sound that holds the number of frames, as VBR encoders write it."""
        version = self.first.bits >> 19 & 3
        for index in range(1, 15):
            bits = self.first.bits & ~(0xF << 12) & ~(1 << 9) | 1 << 16 | index << 12  # no padding, no checksum
            frame = _frame(bits)
            if frame and frame.size >= _FIELDS_AFTER_TAG:
                break
        assert frame
        mono = self.first.bits >> 6 & 3 == 3
        side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
        count = b"Xing" + (1).to_bytes(4, "big") + self.frames.to_bytes(4, "big")
        return (bits.to_bytes(4, "big") + bytes(side) + count).ljust(frame.size, b"\0")


def count_frames(content: bytes | mmap) -> Mpeg | None:
    """Count the frames of an MP3 file, skipping what is between them; None if it has none of layer 3."""
    place = start = _first_frame(content)
    if place is None:
        return None
    first = _frame_at(content, place)
    assert first
    tagged = any(word in content[place : place + _FIELDS_AFTER_TAG] for word in (b"Xing", b"Info"))
    count = 0
    while place is not None and (frame := _frame_at(content, place)):
        count += place + frame.size <= len(content)  # the last one may be cut
        place = _next(content, place + frame.size, first)
    return Mpeg(first, start or 0, count - tagged, tagged)


def _first_frame(content: bytes | mmap) -> int | None:
    place = 0
    while content[place : place + 3] == b"ID3":
        size = 0
        for byte in content[place + 6 : place + 10]:
            size = size << 7 | byte & 0x7F
        place += 10 + size
    return _next(content, place, None)


def _next(content: bytes | mmap, place: int, first: Frame | None) -> int | None:
    """Return the offset of the next frame; after a loss of synchronisation, two consecutive frames are required."""
    if first and (frame := _frame_at(content, place)) and _have_same_format(frame, first):
        return place
    while (place := content.find(b"\xff", place)) >= 0:
        frame = _frame_at(content, place)
        if frame and (first is None or _have_same_format(frame, first)):
            after = _frame_at(content, place + frame.size)
            if after and _have_same_format(after, frame):
                return place
        place += 1
    return None


def _have_same_format(one: Frame, other: Frame) -> bool:
    return one.rate == other.rate and one.samples == other.samples


def _frame_at(content: bytes | mmap, place: int) -> Frame | None:
    header = content[place : place + 4]
    return _frame(int.from_bytes(header, "big")) if len(header) == 4 else None


def _frame(bits: int) -> Frame | None:
    version, kilobits, rate = bits >> 19 & 3, bits >> 12 & 0xF, bits >> 10 & 3
    if bits >> 21 != _SYNC or bits >> 17 & 3 != _LAYER_3 or version == 1 or kilobits in (0, 15) or rate == 3:
        return None
    samples, hertz = 1152 if version == 3 else 576, _RATES[version][rate]
    size = samples // 8 * 1000 * _KILOBITS[version][kilobits - 1] // hertz + (bits >> 9 & 1)
    return Frame(bits, samples, hertz, size)

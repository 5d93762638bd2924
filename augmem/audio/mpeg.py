"""Lengths of MP3 files by counting frames, instead of an estimate from the bit rate of the first frame.

The delay and padding of an encoder are stored in its first frame only. Without it all frames count, and the decoder
removes only its own delay (529 samples).

Header of a frame (ISO 11172-3, 2.4.1.3): 11 bits of synchronisation, 2 of version, 2 of layer, 1 of protection, 4 of
bit rate, 2 of sampling rate, 1 of padding. The first frame can hold the number of frames instead of audio ("Xing",
"Info").
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
_COUNT_FIELDS = 64  # bytes; more than header, side information, name, flags and count of such a frame need


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
        frames: number of frames with audio.
        has_count: the first frame holds a number of frames instead of audio.
    """

    first: Frame
    start: int
    frames: int
    has_count: bool

    @property
    def seconds(self) -> float:
        """Duration of all frames."""
        return self.frames * self.first.samples / self.first.rate

    @property
    def audio_offset(self) -> int:
        """Offset of the first frame with audio."""
        return self.start + (self.first.size if self.has_count else 0)

    def count_frame(self) -> bytes:
        """Return a first frame that holds the number of frames, as encoders with a variable bit rate write it."""
        version = self.first.bits >> 19 & 3
        for index in range(1, 15):
            bits = self.first.bits & ~(0xF << 12) & ~(1 << 9) | 1 << 16 | index << 12  # no padding, no checksum
            frame = _frame(bits)
            if frame and frame.size >= _COUNT_FIELDS:
                break
        assert frame
        mono = self.first.bits >> 6 & 3 == 3
        side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
        count = b"Xing" + (1).to_bytes(4, "big") + self.frames.to_bytes(4, "big")
        return (bits.to_bytes(4, "big") + bytes(side) + count).ljust(frame.size, b"\0")


def count_frames(content: bytes | mmap) -> Mpeg | None:
    """Count the frames of an MP3 file, skipping other bytes between them; None if it has no frame of layer 3."""
    offset = start = _first_frame(content)
    if offset is None:
        return None
    first = _frame_at(content, offset)
    assert first
    has_count = any(name in content[offset : offset + _COUNT_FIELDS] for name in (b"Xing", b"Info"))
    count = 0
    while offset is not None and (frame := _frame_at(content, offset)):
        count += offset + frame.size <= len(content)  # the last one may be truncated
        offset = _next(content, offset + frame.size, first)
    return Mpeg(first, start or 0, count - has_count, has_count)


def _first_frame(content: bytes | mmap) -> int | None:
    offset = 0
    while content[offset : offset + 3] == b"ID3":
        size = 0
        for byte in content[offset + 6 : offset + 10]:
            size = size << 7 | byte & 0x7F
        offset += 10 + size
    return _next(content, offset, None)


def _next(content: bytes | mmap, offset: int, first: Frame | None) -> int | None:
    """Return the offset of the next frame; after a loss of synchronisation, two consecutive frames are required."""
    if first and (frame := _frame_at(content, offset)) and _have_same_format(frame, first):
        return offset
    while (offset := content.find(b"\xff", offset)) >= 0:
        frame = _frame_at(content, offset)
        if frame and (first is None or _have_same_format(frame, first)):
            after = _frame_at(content, offset + frame.size)
            if after and _have_same_format(after, frame):
                return offset
        offset += 1
    return None


def _have_same_format(one: Frame, other: Frame) -> bool:
    return one.rate == other.rate and one.samples == other.samples


def _frame_at(content: bytes | mmap, offset: int) -> Frame | None:
    header = content[offset : offset + 4]
    return _frame(int.from_bytes(header, "big")) if len(header) == 4 else None


def _frame(bits: int) -> Frame | None:
    version, kilobits, rate = bits >> 19 & 3, bits >> 12 & 0xF, bits >> 10 & 3
    if bits >> 21 != _SYNC or bits >> 17 & 3 != _LAYER_3 or version == 1 or kilobits in (0, 15) or rate == 3:
        return None
    samples, hertz = 1152 if version == 3 else 576, _RATES[version][rate]
    size = samples // 8 * 1000 * _KILOBITS[version][kilobits - 1] // hertz + (bits >> 9 & 1)
    return Frame(bits, samples, hertz, size)

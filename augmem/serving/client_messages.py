"""Checks of the messages of a client (PROTOCOL.md describes them)."""

from __future__ import annotations

import json
from typing import NamedTuple, TypeGuard

import numpy as np

from augmem.audio import SAMPLE_RATES
from augmem.streaming import HotwordLine

SAMPLE_TYPES: dict[str, np.dtype] = {"int16": np.dtype("<i2"), "float32": np.dtype("<f4")}
_CONTAINERS = (  # name, offset and bytes that identify the format of a file
    ("WebM or Matroska", 0, b"\x1aE\xdf\xa3"),
    ("Ogg", 0, b"OggS"),
    ("WAV (RIFF)", 0, b"RIFF"),
    ("WAV (RIFX)", 0, b"RIFX"),
    ("WAV (RF64)", 0, b"RF64"),
    ("MP3 (ID3)", 0, b"ID3"),
    ("FLAC", 0, b"fLaC"),
    ("AIFF", 0, b"FORM"),
    ("CAF", 0, b"caff"),
    ("AU", 0, b".snd"),
    ("NIST SPHERE", 0, b"NIST_1A"),
    ("AMR", 0, b"#!AMR"),
    ("MP4", 4, b"ftyp"),
)
HEAD_BYTES = max(offset + len(mark) for _, offset, mark in _CONTAINERS)


class Refusal(Exception):  # noqa: N818 - it ends a connection; it is not a failure of the program
    """A connection is closed because of an error of the client; the message is sent to the client."""


class Opening(NamedTuple):
    """The first message of a stream."""

    sample_rate: int
    sample_type: np.dtype
    hotwords: tuple[HotwordLine, ...] = ()


def parse_first_message(message: str | bytes) -> Opening:
    """Return what a stream's first message declares.

    Raises:
        Refusal: the message is not valid.
    """
    declared = parse_json(message) if isinstance(message, str) else None
    if not isinstance(declared, dict):
        raise Refusal('the first message must be text such as {"sample_rate": 16000, "format": "int16"}')
    rate, name = declared.get("sample_rate"), declared.get("format", "int16")
    if not is_sample_rate(rate):
        raise Refusal(f"sample_rate {rate!r}: must be a whole number from {SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]} (Hz)")
    if not isinstance(name, str) or name not in SAMPLE_TYPES:
        raise Refusal(f"format {name!r}: must be one of {', '.join(SAMPLE_TYPES)}")
    return Opening(int(rate), SAMPLE_TYPES[name], parse_hotwords(declared.get("hotwords", [])))


def parse_hotwords(items: object) -> tuple[HotwordLine, ...]:
    """Return the hotwords of a first message: a list of phrases or of pairs of phrase and bonus.

    Example:
        >>> [(line.text, line.bonus) for line in parse_hotwords(["Ada Lovelace", ["Babbage", 2.5]])]
        [('Ada Lovelace', None), ('Babbage', 2.5)]
    """
    if not isinstance(items, list):
        raise Refusal(f'hotwords {items!r}: must be a list such as ["Ada Lovelace", ["Babbage", 2.5]]'[:200])
    return tuple(_parse_hotword(item) for item in items)


def _parse_hotword(item: object) -> HotwordLine:
    match item:
        case str():
            return HotwordLine("hotwords", item)
        case [str() as text, int() | float() as bonus] if not isinstance(bonus, bool):
            return HotwordLine("hotwords", text, float(bonus))
    raise Refusal(f"hotwords: {str(item)[:100]!r} is neither a phrase nor a pair of phrase and bonus")


def is_sample_rate(value: object) -> TypeGuard[int | float]:
    """Return whether a value is an accepted sampling rate; JSON has one type of numbers, so that 16000.0 is one.

    Example:
        >>> [is_sample_rate(value) for value in (16000, 16000.0, 16000.5, "16000", True)]
        [True, True, False, False, False]
    """
    if not isinstance(value, int | float) or not SAMPLE_RATES[0] <= value <= SAMPLE_RATES[-1]:
        return False
    return float(value).is_integer()


def check_samples(message: bytes, sample_type: np.dtype) -> None:
    """Refuse a message that is not a whole number of samples."""
    if len(message) % sample_type.itemsize:
        raise Refusal(f"{len(message)} bytes are not a whole number of {sample_type.name} samples")


def check_no_container(head: bytes) -> None:
    """Refuse audio that begins as a file of a compressed or container format does.

    Args:
        head: the first `HEAD_BYTES` bytes of the audio, or fewer.
    """
    for name, offset, mark in _CONTAINERS:
        if head[offset:].startswith(mark):
            raise Refusal(
                f"the audio begins as a file of format {name}; send the decoded samples only, without a file header"
            )


def check_end(message: str) -> None:
    """Refuse a text message other than the end of the audio."""
    if parse_json(message) != {"end": True}:
        raise Refusal(f'expected audio or {{"end": true}}, got {message[:100]!r}')


def parse_json(message: str) -> object:
    """Parse a JSON message; return None if it is not JSON."""
    try:
        return json.loads(message)
    except (ValueError, RecursionError):  # the latter from deeply nested brackets
        return None

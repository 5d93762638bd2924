"""Ranges of audio files."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from augmem.audio.file import Block
from augmem.errors import UserError

_TIME = re.compile(r"((\d+:)?[0-5]?\d:[0-5]?\d|\d+)(\.\d*)?")


class Span(NamedTuple):
    """A range of an audio file, in seconds."""

    begin: float = 0.0
    end: float = math.inf


WHOLE = Span()


def read_time(option: str, text: str) -> float:
    """Return a time in seconds.

    Args:
        option: name of the option, for the message.
        text: seconds, MM:SS or HH:MM:SS.

    Example:
        >>> [read_time("--to", text) for text in ("90.5", "01:30", "1:01:30")]
        [90.5, 90.0, 3690.0]

    Raises:
        UserError: not a time.
    """
    if not _TIME.fullmatch(text):
        raise UserError(f"{option} {text}: must be a time such as 90.5 (seconds), 01:30 or 1:01:30")
    return sum(float(part) * 60**power for power, part in enumerate(reversed(text.split(":"))))


def blocks_within(blocks: Iterable[Block], rate: int, span: Span) -> Iterator[Block]:
    """Yield the samples of a range; blocks after it are not read.

    Args:
        blocks: (n, channels) samples from the begin of the file.
        rate: sampling rate, Hz.
        span: the range.

    Raises:
        UserError: the file ends before the range.
    """
    begin, end, at = round(span.begin * rate), span.end * rate, 0
    for block in blocks:
        taken = block[max(0, begin - at) : int(max(0.0, min(len(block), end - at)))]
        at += len(block)
        if len(taken):
            yield taken
        if at >= end:
            return
    if at <= begin and begin:
        raise UserError(f"ends after {at / rate:.1f} s, before {span.begin:g} s (--from)")

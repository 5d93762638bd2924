"""A reader of ctm files."""

from __future__ import annotations

from pathlib import Path

from augmem.scoring import TimedWord


def read_ctm(path: Path) -> list[TimedWord]:
    """Read lines "recording channel start duration word confidence"."""
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        TimedWord(recording, float(start), float(duration), word, float(confidence), channel)
        for recording, channel, start, duration, word, confidence in rows
    ]

"""What was heard, written down: text, JSON lines, CTM, and subtitles."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from augmem.streaming.events import Event

Heard = Sequence[tuple[str, Sequence[Event]]]  # each source's name and final events


def write_events(kind: str, heard: Heard) -> str:
    """All sources in one text of the format `kind`: text, json, ctm, srt or vtt."""
    return {"text": as_text, "json": as_json, "ctm": as_ctm, "srt": as_srt, "vtt": as_vtt}[kind](heard)


def as_text(heard: Heard) -> str:
    """One segment a line; the sources' names stand before them if there are several."""
    lines = []
    for name, events in heard:
        lines += [f"{name}\t{event.text}" if len(heard) > 1 else event.text for event in events if event.text]
    return "".join(f"{line}\n" for line in lines)


def as_json(heard: Heard) -> str:
    """One segment a line: text, end, words with start, end and confidence; its source if there are several."""
    lines = []
    for name, events in heard:
        source = {"source": name} if len(heard) > 1 else {}
        lines += [json.dumps(source | json.loads(event.to_json()), ensure_ascii=False) for event in events]
    return "".join(f"{line}\n" for line in lines)


def as_ctm(heard: Heard) -> str:
    """NIST's format: source, channel, start, length, word, confidence."""
    rows = [
        ("_".join(Path(name).stem.split()), word) for name, events in heard for event in events for word in event.words
    ]
    return "".join(
        f"{name} 1 {word.start:.2f} {word.end - word.start:.2f} {word.text} {word.confidence:.3f}\n"
        for name, word in rows
    )


def as_srt(heard: Heard) -> str:
    """SubRip subtitles, one segment each."""
    segments = [event for _, events in heard for event in events if event.words]
    return "".join(
        f"{number}\n{clock(event.words[0].start, ',')} --> {clock(event.words[-1].end, ',')}\n{event.text}\n\n"
        for number, event in enumerate(segments, 1)
    )


def as_vtt(heard: Heard) -> str:
    """WebVTT subtitles, one segment each."""
    segments = [event for _, events in heard for event in events if event.words]
    return "WEBVTT\n\n" + "".join(
        f"{clock(event.words[0].start, '.')} --> {clock(event.words[-1].end, '.')}\n"
        f"{escape(event.text, quote=False)}\n\n"
        for event in segments
    )


def clock(seconds: float, point: str) -> str:
    """01:02:03,450"""
    milliseconds = round(1000 * seconds)
    minutes, milliseconds = divmod(milliseconds, 60000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"

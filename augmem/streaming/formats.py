"""Output formats of recognition: text, JSON lines, CTM, subtitles."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from augmem.streaming.events import Event

RecognizedInputs = Sequence[tuple[str, Sequence[Event]]]  # name of each audio input, and its final events


def format_events(name: str, results: RecognizedInputs, channels: Sequence[str] = ()) -> str:
    """Format results.

    Args:
        name: text, json, ctm, srt or vtt.
        results: name and final events of each audio input.
        channels: channel of each audio input, for CTM; empty: the first.

    Example:
        >>> from augmem.streaming import Event, Word
        >>> format_events("text", [("a.wav", [Event("final", 0, (Word("GOOD", 0.2, 0.5, 0.9),), 1.2)])])
        'GOOD\\n'
    """
    if name == "ctm":
        return format_ctm(results, channels or ["1"] * len(results))
    formats = {"text": format_text, "json": format_json, "srt": format_srt, "vtt": format_vtt}
    return formats[name](results)


def format_text(results: RecognizedInputs) -> str:
    """Return one line per segment, after the name of the input if there are several."""
    lines = []
    for name, events in results:
        lines += [f"{name}\t{event.text}" if len(results) > 1 else event.text for event in events if event.text]
    return "".join(f"{line}\n" for line in lines)


def format_paragraphs(results: RecognizedInputs, pause: float) -> str:
    """Return one paragraph for all segments between pauses of at least `pause` seconds, with empty lines between them.

    The name of the input is a line of its own if there are several.
    """
    texts = []
    for name, events in results:
        texts += [name] if len(results) > 1 else []
        texts += [" ".join(event.text for event in group) for group in _paragraphs(events, pause)]
    return "".join(f"{text}\n\n" for text in texts)[:-1]


def _paragraphs(events: Sequence[Event], pause: float) -> list[list[Event]]:
    """Group the segments with words."""
    groups: list[list[Event]] = []
    for event in (event for event in events if event.words):
        if not groups or event.words[0].start - groups[-1][-1].words[-1].end >= pause:
            groups.append([])
        groups[-1].append(event)
    return groups


def format_json(results: RecognizedInputs) -> str:
    """Return one JSON object per segment (see `Event.to_json`), with the name of the input if there are several."""
    lines = []
    for name, events in results:
        source = {"source": name} if len(results) > 1 else {}
        lines += [json.dumps(source | json.loads(event.to_json()), ensure_ascii=False) for event in events]
    return "".join(f"{line}\n" for line in lines)


def format_ctm(results: RecognizedInputs, channels: Sequence[str]) -> str:
    """Return NIST's CTM format: recording, channel, start, duration, word, confidence."""
    rows = [
        ("_".join(Path(name).stem.split()), channel, word)
        for (name, events), channel in zip(results, channels, strict=True)
        for event in events
        for word in event.words
    ]
    return "".join(
        f"{name} {channel} {word.start:.2f} {word.end - word.start:.2f} {word.text} {word.confidence or 0.0:.3f}\n"
        for name, channel, word in rows
    )


def format_srt(results: RecognizedInputs) -> str:
    """Return SubRip subtitles, one per segment."""
    segments = [event for _, events in results for event in events if event.words]
    return "".join(
        f"{number}\n{format_time(event.words[0].start, ',')} --> {format_time(event.words[-1].end, ',')}\n"
        f"{event.text}\n\n"
        for number, event in enumerate(segments, 1)
    )


def format_vtt(results: RecognizedInputs) -> str:
    """Return WebVTT subtitles, one per segment."""
    segments = [event for _, events in results for event in events if event.words]
    return "WEBVTT\n\n" + "".join(
        f"{format_time(event.words[0].start, '.')} --> {format_time(event.words[-1].end, '.')}\n"
        f"{escape(event.text, quote=False)}\n\n"
        for event in segments
    )


def format_time(seconds: float, decimal_sign: str) -> str:
    """Format a time as in subtitles.

    Example:
        >>> format_time(3723.45, ",")
        '01:02:03,450'
    """
    milliseconds = round(1000 * seconds)
    minutes, milliseconds = divmod(milliseconds, 60000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}{decimal_sign}{milliseconds % 1000:03}"

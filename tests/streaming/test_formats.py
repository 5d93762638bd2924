"""Output formats of recognition."""

from __future__ import annotations

import json

from augmem.streaming import Event, Word, format_events


def test_formats() -> None:
    words = (Word("GOOD", 3601.0, 3601.5, 0.9), Word("DAY", 3601.6, 3602.0, 0.5))
    results = [("speech/a.wav", [Event("final", 0, words, 3602.1), Event("final", 1, (), 3603.0)])]
    assert format_events("text", results) == "GOOD DAY\n"
    assert format_events("ctm", results) == "a 1 3601.00 0.50 GOOD 0.900\na 1 3601.60 0.40 DAY 0.500\n"
    assert format_events("ctm", results, ["2"]).splitlines()[0] == "a 2 3601.00 0.50 GOOD 0.900"
    assert format_events("srt", results) == "1\n01:00:01,000 --> 01:00:02,000\nGOOD DAY\n\n"
    assert format_events("vtt", results) == "WEBVTT\n\n01:00:01.000 --> 01:00:02.000\nGOOD DAY\n\n"
    assert [json.loads(line)["segment"] for line in format_events("json", results).splitlines()] == [0, 1]

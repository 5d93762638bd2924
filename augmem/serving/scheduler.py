"""Scheduling of the streams of one decoding process.

The streams with the least audio decoded recently (a decaying sum) come first: a client that sends faster than real time
uses the remaining time only, and a new stream is decoded at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from augmem.errors import UserError
from augmem.serving.engines import LiveRecognizer
from augmem.serving.messages import (
    AudioPacket,
    CloseStream,
    FinishStream,
    OpenStream,
    Ping,
    Pong,
    Request,
    Response,
    SetHotwords,
    StreamFailed,
    StreamUpdate,
)

STREAMS_PER_STEP = 4  # more would gain little and delay the last results of a finishing stream
LAST_AUDIO = 3.0  # seconds; a finishing stream with no more left comes first
DECAY_TIME = 5.0  # seconds in which the sum of decoded audio decays by the factor e


@dataclass
class ScheduledStream:
    """A stream, the seconds of its audio that the server counts as not decoded, and those decoded recently."""

    stream: Any
    pending: float = 0.0
    _decoded: float = 0.0
    _decoded_at: float = 0.0

    def recently_decoded(self, now: float) -> float:
        """Return the decaying sum of decoded audio in seconds."""
        return self._decoded * math.exp((self._decoded_at - now) / DECAY_TIME)

    def count(self, decoded: float, now: float) -> None:
        """Count seconds of audio as decoded."""
        self.pending -= decoded
        self._decoded, self._decoded_at = self.recently_decoded(now) + decoded, now


class StreamScheduler:
    """Advance many streams, a few of them in each step.

    Args:
        recognizer: advances the streams.
        send: receives the results.
    """

    def __init__(self, recognizer: LiveRecognizer, send: Callable[[Response], None]) -> None:
        self.recognizer, self.send = recognizer, send
        self.streams: dict[int, ScheduledStream] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no stream has enough audio for a step."""
        return not any(map(self._is_ready, self.streams))

    def handle(self, request: Request) -> None:
        """Apply a request; a stream whose audio is invalid is discarded and reported as failed."""
        try:
            if isinstance(request, Ping):
                self.send(Pong())
            elif isinstance(request, OpenStream):
                self.streams[request.stream] = ScheduledStream(self.recognizer.stream())
            elif isinstance(request, CloseStream):
                self.streams.pop(request.stream, None)
            elif scheduled := self.streams.get(request.stream):
                self._feed(scheduled, request)
        except UserError as error:
            self.streams.pop(request.stream, None)
            self.send(StreamFailed(request.stream, str(error), by_client=True))

    def advance(self) -> None:
        """Run one step and send its results."""
        chosen = self._ready()[:STREAMS_PER_STEP]
        self.recognizer.step([self.streams[number].stream for number in chosen])
        for number in chosen:
            self._report(number)

    def _feed(self, scheduled: ScheduledStream, request: SetHotwords | AudioPacket | FinishStream) -> None:
        if isinstance(request, FinishStream):
            scheduled.stream.finish()
        elif isinstance(request, SetHotwords):
            scheduled.stream.hotwords = self.recognizer.make_hotwords(request.hotwords)
        else:
            scheduled.stream.accept_waveform(request.samples, request.sample_rate)
            scheduled.pending += request.duration

    def _ready(self) -> list[int]:
        """Return the streams that have a chunk: those close to their end, then those with the least decoded audio."""
        return sorted(filter(self._is_ready, self.streams), key=self._priority)

    def _is_ready(self, number: int) -> bool:
        return self.streams[number].stream.is_ready(self.recognizer.chunk_frames)

    def _priority(self, number: int) -> tuple[bool, float]:
        scheduled = self.streams[number]
        is_ending = scheduled.stream.is_finishing and scheduled.pending <= LAST_AUDIO
        return not is_ending, scheduled.recently_decoded(time.monotonic())

    def _report(self, number: int) -> None:
        scheduled = self.streams[number]
        stream = scheduled.stream
        left = 0.0 if stream.is_done else len(stream.frames) * self.recognizer.feature_config.frame_shift
        decoded = max(0.0, scheduled.pending - left)
        scheduled.count(decoded, time.monotonic())
        events = tuple(event.to_json() for event in stream.events())
        self.send(StreamUpdate(number, decoded, events, stream.is_done))
        if stream.is_done:
            del self.streams[number]

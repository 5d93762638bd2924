"""Scheduling of the streams of one decoding process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from augmem.errors import UserError
from augmem.serving.messages import (
    AudioPacket,
    CloseStream,
    FinishStream,
    OpenStream,
    Request,
    Response,
    StreamFailed,
    StreamUpdate,
)
from augmem.streaming import Recognizer, Stream

STREAMS_PER_STEP = 4  # more would gain little and delay the last results of a finishing stream


@dataclass
class ScheduledStream:
    """A stream and the seconds of its audio that the server counts as not decoded."""

    stream: Stream
    pending: float = 0.0


class StreamScheduler:
    """Advance many streams, a few of them in each step.

    Args:
        recognizer: advances the streams.
        send: receives the results.
    """

    def __init__(self, recognizer: Recognizer, send: Callable[[Response], None]) -> None:
        self.recognizer, self.send = recognizer, send
        self.streams: dict[int, ScheduledStream] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no stream has enough audio for a step."""
        return not any(map(self._is_ready, self.streams))

    def handle(self, request: Request) -> None:
        """Apply a request; a stream whose audio is invalid is discarded and reported as failed."""
        try:
            if isinstance(request, OpenStream):
                self.streams[request.stream] = ScheduledStream(self.recognizer.stream())
            elif isinstance(request, CloseStream):
                self.streams.pop(request.stream, None)
            elif scheduled := self.streams.get(request.stream):
                self._feed(scheduled, request)
        except UserError as error:
            self.streams.pop(request.stream, None)
            self.send(StreamFailed(request.stream, str(error)))

    def advance(self) -> None:
        """Run one step and send its results."""
        chosen = self._ready()[:STREAMS_PER_STEP]
        self.recognizer.step([self.streams[number].stream for number in chosen])
        for number in chosen:
            self._report(number)

    def _feed(self, scheduled: ScheduledStream, request: AudioPacket | FinishStream) -> None:
        if isinstance(request, FinishStream):
            scheduled.stream.finish()
        else:
            scheduled.stream.accept_waveform(request.samples, request.sample_rate)
            scheduled.pending += request.duration

    def _ready(self) -> list[int]:
        """Return the streams that a step advances: finishing ones first, then those with most pending audio."""
        return sorted(filter(self._is_ready, self.streams), key=self._priority)

    def _is_ready(self, number: int) -> bool:
        return self.streams[number].stream.is_ready(self.recognizer.chunk_frames)

    def _priority(self, number: int) -> tuple[bool, float]:
        scheduled = self.streams[number]
        return not scheduled.stream.is_finishing, -scheduled.pending

    def _report(self, number: int) -> None:
        scheduled = self.streams[number]
        stream = scheduled.stream
        left = 0.0 if stream.is_done else len(stream.frames) * self.recognizer.feature_config.frame_shift
        decoded = max(0.0, scheduled.pending - left)
        scheduled.pending -= decoded
        events = tuple(event.to_json() for event in stream.events())
        self.send(StreamUpdate(number, decoded, events, stream.is_done))
        if stream.is_done:
            del self.streams[number]

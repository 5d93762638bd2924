"""A stream of a decoding process, with its audio and its results on the way."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

import numpy as np

from augmem.serving.config import ServerConfig
from augmem.serving.messages import (
    AudioPacket,
    CloseStream,
    FinishStream,
    OpenStream,
    StreamFailed,
    StreamUpdate,
)
from augmem.serving.worker import Worker

MAX_PACKET_DURATION = 0.5  # seconds; a larger message is divided, so that it does not delay other streams
REFUSAL_TIMEOUT = 2.0  # seconds for sending the reason of a refusal


class WorkerStream(ABC):
    """A stream: sends audio to a worker no faster than it is decoded, and queues the results.

    Args:
        number: identifies the stream in messages to the worker.
        worker: decodes the stream.
        config: limits.

    Attributes:
        pending: seconds of audio sent to the worker but not decoded yet.
        waiting_since: when the server began to wait for the client's next message (time.monotonic); None: it does not.
        is_shutting_down: whether the server stops: later audio is ignored.
    """

    def __init__(self, number: int, worker: Worker, config: ServerConfig) -> None:
        self.number, self.worker, self.config = number, worker, config
        self.pending = 0.0
        self.waiting_since: float | None = None
        self.is_shutting_down = False
        self._updates: asyncio.Queue[StreamUpdate | StreamFailed] = asyncio.Queue()
        self._may_send, self._pending_limit = asyncio.Event(), config.max_buffered

    def open(self) -> None:
        """Create the stream in the worker."""
        self.worker.send(OpenStream(self.number))
        if self.is_shutting_down:
            self.finish()

    def finish(self) -> None:
        """Mark the end of the audio; the last results follow."""
        self.worker.send(FinishStream(self.number))

    def close(self) -> None:
        """Discard the stream in the worker."""
        self.worker.send(CloseStream(self.number))

    def update(self, message: StreamUpdate | StreamFailed) -> None:
        """Accept results from the worker and queue them."""
        if isinstance(message, StreamUpdate):
            self.pending -= message.decoded
            if self.pending <= self._pending_limit:
                self._may_send.set()
        self._updates.put_nowait(message)

    def shut_down(self) -> None:
        """End the stream because the server stops: later audio is ignored, its last results are still sent."""
        self.is_shutting_down = True
        self.finish()

    def evict(self) -> None:
        """Close the connection of an idle client because the server is full."""
        self.update(StreamFailed(self.number, "idle while the server is full; connect again when there is audio"))
        asyncio.get_running_loop().call_later(REFUSAL_TIMEOUT, self.abort)

    @abstractmethod
    def abort(self) -> None:
        """Close the connection to the client at once."""

    async def send_audio(self, samples: np.ndarray, sample_rate: int) -> None:
        """Send samples (n,) to the worker in packets; wait while too much audio is not decoded."""
        size = int(MAX_PACKET_DURATION * sample_rate)
        for begin in range(0, len(samples), size):
            if self.is_shutting_down:  # the end has been sent
                return
            packet = AudioPacket(self.number, samples[begin : begin + size], sample_rate)
            self.pending += packet.duration
            self.worker.send(packet)
            await self.wait_for_decoding(self.config.max_buffered)

    async def wait_for_decoding(self, limit: float) -> None:
        """Wait until at most `limit` seconds of audio are not decoded."""
        self._pending_limit = limit
        if self.pending > limit:
            self._may_send.clear()
            await self._may_send.wait()

"""One websocket connection and its stream (PROTOCOL.md describes the messages)."""

from __future__ import annotations

import asyncio
import json
import logging
import time

import numpy as np
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from augmem.serving.client_messages import (
    HEAD_BYTES,
    SAMPLE_TYPES,
    Opening,
    Refusal,
    check_end,
    check_no_container,
    check_samples,
    parse_first_message,
)
from augmem.serving.config import ServerConfig
from augmem.serving.messages import SetHotwords, StreamFailed
from augmem.serving.metrics import Metrics
from augmem.serving.vosk import EOF, RESET, Answers, parse_command, parse_config
from augmem.serving.worker import Worker
from augmem.serving.worker_stream import REFUSAL_TIMEOUT, WorkerStream

logger = logging.getLogger(__name__)

NORMAL_CLOSURE, GOING_AWAY, POLICY_VIOLATION = 1000, 1001, 1008  # websocket close codes
PACKET_DURATION = 0.05  # seconds of audio sent to the worker at once: one message per sample would cost too much
DECODING_MARGIN = 0.05  # seconds; audio of a chunk and this much more has all feature frames of the chunk
CANCELLATION_INTERVAL = 0.1  # seconds after which a cancellation is repeated
REASON_BYTES = 100  # a close frame has room for 123


class AudioBuffer:
    """Audio of a client that has not been sent to the worker.

    Args:
        sample_rate: Hz.
        sample_type: NumPy type of the samples.
    """

    def __init__(self, sample_rate: int, sample_type: np.dtype) -> None:
        self.sample_rate, self._type = sample_rate, sample_type
        self._samples, self._head = bytearray(), b""

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self._samples) / self._type.itemsize / self.sample_rate

    def add(self, message: bytes) -> None:
        """Add a message.

        Raises:
            Refusal: it is not a whole number of samples, or the audio is a file.
        """
        if len(self._head) < HEAD_BYTES:
            self._head = (self._head + message)[:HEAD_BYTES]
            check_no_container(self._head)
        check_samples(message, self._type)
        self._samples += message

    def take(self) -> np.ndarray:
        """Remove and return all samples (n,)."""
        taken, self._samples = self._samples, bytearray()
        return np.frombuffer(taken, self._type)


class ServedStream(WorkerStream):
    """One connection: sends its audio to a worker, and the results back.

    Args:
        number: identifies the stream in messages to the worker.
        connection: connection to the client.
        worker: decodes the stream.
        config: limits.
        metrics: metrics of the server.
    """

    def __init__(
        self, number: int, connection: ServerConnection, worker: Worker, config: ServerConfig, metrics: Metrics
    ) -> None:
        super().__init__(number, worker, config)
        self.connection, self.metrics = connection, metrics
        self._finished_at: float | None = None
        self._answers: Answers | None = None  # in Vosk's protocol
        self._command = ""
        self._has_ended = asyncio.Event()  # after RESET

    async def run(self) -> None:
        """Serve the connection until the stream is done, the client disconnects or an error occurs."""
        self.open()
        tasks = [asyncio.create_task(self._send_results()), asyncio.create_task(self._receive())]
        try:
            await asyncio.gather(*tasks)
        except Refusal as refusal:
            await cancel(tasks)
            await self._refuse(str(refusal))
        except ConnectionClosed:
            pass
        finally:
            await cancel(tasks)
            self.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self.connection.transport.abort()

    async def _receive(self) -> None:
        """Receive the client's messages, in the protocol of the first one."""
        message = await self._next_message()
        if config := parse_config(message):
            self._answers = Answers(config.words)
            await self._answer(AudioBuffer(config.sample_rate, SAMPLE_TYPES["int16"]), self._answers)
        else:
            await self._receive_audio(parse_first_message(message))

    async def _receive_audio(self, opening: Opening) -> None:
        """Send the client's audio to the worker, no faster than it is decoded."""
        if opening.hotwords:
            self.worker.send(SetHotwords(self.number, opening.hotwords))
        buffer = AudioBuffer(opening.sample_rate, opening.sample_type)
        while True:
            message = await self._next_message()
            if self.is_shutting_down:
                continue
            if isinstance(message, str):
                check_end(message)
                await self._finish(buffer)
                return
            self._check_unread()
            buffer.add(message)
            if buffer.duration >= PACKET_DURATION:
                await self.send_audio(buffer.take(), buffer.sample_rate)

    async def _answer(self, buffer: AudioBuffer, answers: Answers) -> None:
        """Answer each message in Vosk's protocol, once its audio has been decoded as far as the encoder allows."""
        limit = min(self.worker.chunk + DECODING_MARGIN, self.config.max_buffered)
        while True:
            message = await self._next_message()
            if self.is_shutting_down:
                continue
            if isinstance(message, bytes):
                buffer.add(message)
                if buffer.duration >= PACKET_DURATION:
                    await self.send_audio(buffer.take(), buffer.sample_rate)
                await self.wait_for_decoding(limit)
                await self._send(answers.next())
                continue
            self._command = parse_command(message)
            await self._finish(buffer)
            if self._command == EOF:
                return
            await self._has_ended.wait()
            self._has_ended.clear()
            await self._send(answers.last())
            self.open()

    async def _finish(self, buffer: AudioBuffer) -> None:
        """Send the rest of the audio and its end to the worker."""
        await self.send_audio(buffer.take(), buffer.sample_rate)
        self._finished_at = time.monotonic()
        self.finish()

    async def _next_message(self) -> str | bytes:
        self.waiting_since = time.monotonic()
        try:
            return await asyncio.wait_for(self.connection.recv(), self.config.idle)
        except asyncio.TimeoutError as error:
            raise Refusal(f"idle timeout: no message for {self.config.idle:g} s") from error
        finally:
            self.waiting_since = None

    def _check_unread(self) -> None:
        if self._updates.qsize() > self.config.max_unread:
            raise Refusal(f"more than {self.config.max_unread} results are unread; read while sending audio")

    async def _send_results(self) -> None:
        """Send results to the client; a client that reads slowly delays only its own stream."""
        while True:
            message = await self._updates.get()
            if isinstance(message, StreamFailed):
                raise Refusal(message.reason)
            for event in message.events:
                await self._deliver(event)
            if message.done and self._command == RESET:
                self._command = ""
                self._has_ended.set()
            elif message.done:
                await self._close()
                return

    async def _deliver(self, event: str) -> None:
        if self._answers:
            self._answers.add(event)
        else:
            await self._send(event)

    async def _send(self, text: str) -> None:
        try:
            await asyncio.wait_for(self.connection.send(text), self.config.idle)
        except asyncio.TimeoutError as error:
            raise Refusal(f"idle timeout: results were not read for {self.config.idle:g} s") from error

    async def _close(self) -> None:
        if self._finished_at is not None:
            self.metrics.latency.observe(time.monotonic() - self._finished_at)
        self.metrics.served.inc()
        await self._send(self._answers.last() if self._answers else json.dumps({"done": True}))
        await self.connection.close(GOING_AWAY if self.is_shutting_down else NORMAL_CLOSURE)

    async def _refuse(self, reason: str) -> None:
        logger.info("refused stream %d of %s: %s", self.number, self.connection.remote_address, reason)
        self.metrics.refused.labels("stream").inc()
        try:
            await asyncio.wait_for(self.connection.send(json.dumps({"error": reason})), REFUSAL_TIMEOUT)
            await self.connection.close(POLICY_VIOLATION, reason.encode()[:REASON_BYTES].decode(errors="ignore"))
        except asyncio.TimeoutError:  # the client does not read
            self.connection.transport.abort()
        except ConnectionClosed:
            pass


async def cancel(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for them; ignore their results.

    Repeatedly, since `asyncio.wait_for` before Python 3.12 ignores a cancellation that comes together with the result
    of what it waits for (https://github.com/python/cpython/issues/86296).
    """
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=CANCELLATION_INTERVAL)
    await asyncio.gather(*tasks, return_exceptions=True)  # retrieves the exceptions

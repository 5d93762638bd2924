"""Decoding in a process of its own: k2 holds the interpreter's lock, and a server's event loop must never wait.

Messages to the worker: (stream, kind, payload) with kind open, audio (samples, rate), end or drop. Messages from it:
(stream, "events", [JSON]), (stream, "heard", seconds), (stream, "done", None), (stream, "error", text).
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from augmem.streaming import Recognizer, RecognizerOptions, Stream

logger = logging.getLogger(__name__)

Message = tuple[int, str, Any]
_READY = -1  # stream number under which a worker reports that it has loaded its model
_MAIL = 64  # messages read between two steps: whoever floods the worker may not keep it from decoding
_AT_ONCE = 4  # streams in a step: more would gain little and keep a stream that is ending waiting


def work(connection: Connection, package: Path, options: RecognizerOptions, threads: int) -> None:
    """The worker's life: read what there is, advance some streams in lockstep, tell what happened."""
    import torch

    for name in (signal.SIGTERM, signal.SIGINT):  # a terminal or systemd tells the whole group; the server decides
        signal.signal(name, signal.SIG_IGN)
    torch.set_num_threads(threads)
    desk = Desk(Recognizer.load(package, options), connection.send)
    with suppress(EOFError, ConnectionError):  # the server is gone
        connection.send((_READY, "ready", None))
        while True:
            for _ in range(_MAIL):
                if not connection.poll(0 if desk.busy else None):
                    break
                desk.take(connection.recv())
            desk.advance()


class Desk:
    """The streams of one worker."""

    def __init__(self, recogniser: Recognizer, send: Callable[[Message], None]) -> None:
        self.recogniser, self.send = recogniser, send
        self.streams: dict[int, Stream] = {}
        self.unheard: dict[int, float] = {}  # seconds of each stream's audio that wait

    @property
    def busy(self) -> bool:
        """Whether a step would do something."""
        return bool(self._ready())

    def take(self, message: Message) -> None:
        """Deal with one message; a stream that sends what cannot be heard is told and forgotten."""
        number, kind, payload = message
        try:
            if kind == "open":
                self.streams[number], self.unheard[number] = self.recogniser.stream(), 0.0
            elif kind == "drop":
                self._forget(number)
            elif number in self.streams and kind == "audio":
                samples, rate = payload
                self.streams[number].accept_waveform(samples, rate)
                self.unheard[number] += len(samples) / rate
                self._report(number)
            elif number in self.streams and kind == "end":
                self.streams[number].finish()
        except ValueError as error:
            self._forget(number)
            self.send((number, "error", str(error)))

    def advance(self) -> None:
        """One step of a few streams, and its events: first of those whose last words are waited for."""
        turn = sorted(self._ready(), key=lambda number: (not self.streams[number].finishing, -self.unheard[number]))
        chosen = {number: self.streams[number] for number in turn[:_AT_ONCE]}
        self.recogniser.step(list(chosen.values()))
        for number, stream in chosen.items():
            self._report(number)
            if events := stream.events():
                self.send((number, "events", [event.to_json() for event in events]))
            if stream.is_done:
                self._forget(number)
                self.send((number, "done", None))

    def _ready(self) -> list[int]:
        """Streams that a step would advance."""
        size = self.recogniser.chunk_frames
        return [number for number, stream in self.streams.items() if stream.is_ready(size)]

    def _report(self, number: int) -> None:
        """Tell how much of a stream's audio has been heard: all but the frames of the segment that is not full yet."""
        stream, recogniser = self.streams[number], self.recogniser
        waits = 0.0 if stream.is_done else len(stream.frames) * recogniser.feature_config.frame_shift
        if waits < self.unheard[number]:
            self.send((number, "heard", self.unheard[number] - waits))
            self.unheard[number] = waits

    def _forget(self, number: int) -> None:
        self.streams.pop(number, None)
        self.unheard.pop(number, None)


class Worker:
    """A worker process as the server sees it; its answers come to `receive` from a thread.

    Args:
        receive: called with every message, and with (-2, "died", None) if the process ends by itself.
    """

    def __init__(
        self, package: Path, options: RecognizerOptions, threads: int, receive: Callable[[Message], None]
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, package, options, threads), daemon=True)
        self.process.start()
        theirs.close()
        self.receive = receive
        self.closing = False
        self.outbox: SimpleQueue[Message | None] = SimpleQueue()
        Thread(target=self._listen, daemon=True).start()
        Thread(target=self._post, daemon=True).start()

    def send(self, message: Message) -> None:
        """Hand over a message, without waiting: a pipe that is full of one worker's mail must hold up nobody else."""
        self.outbox.put(message)

    def close(self) -> None:
        """End the process, at once: it holds nothing that anybody waits for."""
        self.closing = True
        self.outbox.put(None)
        self.process.kill()
        self.process.join()
        self.connection.close()

    def _post(self) -> None:
        """Send what lies in the outbox; what a dead worker would have got is lost, as its streams are told."""
        while (message := self.outbox.get()) is not None:
            try:
                self.connection.send(message)
            except OSError:
                logger.debug("a decoding process is gone: message %s of stream %d is lost", message[1], message[0])

    def _listen(self) -> None:
        try:
            while True:
                self.receive(self.connection.recv())
        except (EOFError, OSError, TypeError):  # TypeError: closed while it was being read
            if not self.closing:
                self.receive((-2, "died", None))

"""Decoding in a separate process: the search holds the GIL and would block the event loop of the server."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from augmem.errors import UserError
from augmem.serving.engines import load_engine
from augmem.serving.messages import Ping, Request, RequestSocket, Response, WorkerReady, pack, read_response
from augmem.serving.outbox import Outbox
from augmem.serving.scheduler import StreamScheduler

if TYPE_CHECKING:
    from augmem.serving.engines import EngineChoice

logger = logging.getLogger(__name__)

REQUESTS_PER_STEP = 64  # maximum number of requests read before each decoding step
PING_INTERVAL = 1.0  # seconds
MAX_SILENCE = 3.0  # seconds without an answer to a ping; a busy process is not concerned
MAX_LOADING = 120.0  # the same while the model is loaded
_BUSY = (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP)


def decode_streams(connection: socket.socket, package: Path, options: EngineChoice, threads: int) -> None:
    """Run a decoding process: read pending requests, advance some streams, repeat until the socket is closed.

    Args:
        connection: socket to the server process.
        package: the packaged model.
        options: endpoint rules and beams of its engine.
        threads: number of threads of the process.
    """
    for name in (signal.SIGTERM, signal.SIGINT):  # sent to the whole process group; the server stops this process
        signal.signal(name, signal.SIG_IGN)
    recognizer = load_engine(package, options, threads)  # verified by the server's process
    requests = RequestSocket(connection)
    scheduler = StreamScheduler(recognizer, requests.send)
    with suppress(EOFError, ConnectionError):
        requests.send(WorkerReady(recognizer.chunk_duration))
        while True:
            for _ in range(REQUESTS_PER_STEP):
                if not requests.poll(None if scheduler.is_idle else 0):
                    break
                scheduler.handle(requests.receive())
            scheduler.advance()


class Worker:
    """Handle of a decoding process in the event loop of the server.

    Args:
        package: a packaged model.
        options: endpoint rules and beams of its engine; None: the default.
        threads: number of threads of the process.

    Attributes:
        chunk: seconds of audio that one step decodes, once the process is ready.
    """

    def __init__(self, package: Path, options: EngineChoice, threads: int) -> None:
        self.package, self.options, self.threads = package, options, threads
        self.process: BaseProcess | None = None
        self.is_ready = self.is_closed = False
        self.chunk = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the process. Requests can be sent before it is ready."""
        self.is_closed = False
        server_end, worker_end = socket.socketpair()
        arguments = (worker_end, self.package, self.options, self.threads)
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=decode_streams, args=arguments, daemon=True)
        self.process.start()
        worker_end.close()
        self._reader, self._writer = await asyncio.open_connection(sock=server_end)
        self._outbox, self._has_mail, self._last_sign = Outbox(), asyncio.Event(), time.monotonic()
        self._tasks = [asyncio.create_task(self._send_mail()), asyncio.create_task(self._watch())]

    async def wait_until_ready(self) -> WorkerReady:
        """Wait until the process has loaded the model.

        Raises:
            UserError: the process ended before.
        """
        ready = await read_response(self._reader)
        if not isinstance(ready, WorkerReady):
            raise UserError(f"{self.package}: the decoding process ended while loading the model; see its error above")
        self._note_response()
        self.chunk = ready.chunk
        return ready

    def send(self, request: Request) -> None:
        """Queue a request; returns at once, so that a process that hangs does not block the event loop."""
        if not self.is_closed:
            self._outbox.put(request)
            self._has_mail.set()

    async def responses(self) -> AsyncIterator[Response]:
        """Yield responses until the process ends."""
        while response := await read_response(self._reader):
            self._note_response()
            yield response
        self.is_ready = False

    def close(self) -> None:
        """Kill the process; it holds no data that must be saved."""
        self.is_closed, self.is_ready = True, False
        if self.process:
            for task in self._tasks:
                task.cancel()
            self.process.kill()
            self.process.join()
            self._writer.close()

    def _note_response(self) -> None:
        self.is_ready, self._last_sign = True, time.monotonic()

    async def _send_mail(self) -> None:
        """Write requests as the process reads them: those that wait can still be discarded."""
        with suppress(ConnectionError):
            while True:
                while request := self._outbox.take():
                    self._writer.write(pack(request))
                    await self._writer.drain()
                self._has_mail.clear()
                await self._has_mail.wait()

    async def _watch(self) -> None:
        """Kill the process if it neither answers nor computes, so that it is replaced."""
        while True:
            await asyncio.sleep(PING_INTERVAL)
            limit = MAX_SILENCE if self.is_ready else MAX_LOADING
            if self._is_busy():
                self._last_sign = time.monotonic()
            elif time.monotonic() - self._last_sign > limit and self.process:
                logger.error("decoding process %s does not answer; it is killed", self.process.pid)
                self.is_ready = False
                self.process.kill()  # _supervise replaces it
                return
            self.send(Ping())

    def _is_busy(self) -> bool:
        """Return whether the process computes or reads from the disk; it answers pings between two steps."""
        try:
            return self.process is not None and psutil.Process(self.process.pid).status() in _BUSY
        except psutil.Error:
            return False

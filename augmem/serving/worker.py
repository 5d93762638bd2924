"""Decoding in a separate process: k2 holds the GIL and would block the event loop of the server."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

from augmem.errors import UserError
from augmem.serving.messages import Request, RequestSocket, Response, WorkerReady, pack, read_response
from augmem.serving.scheduler import StreamScheduler
from augmem.streaming import Recognizer, RecognizerOptions

logger = logging.getLogger(__name__)

REQUESTS_PER_STEP = 64  # maximum number of requests read before each decoding step


def decode_streams(connection: socket.socket, package: Path, options: RecognizerOptions, threads: int) -> None:
    """Run a decoding process: read pending requests, advance some streams, repeat until the socket is closed."""
    import torch

    for name in (signal.SIGTERM, signal.SIGINT):  # sent to the whole process group; the server stops this process
        signal.signal(name, signal.SIG_IGN)
    torch.set_num_threads(threads)
    recognizer, requests = Recognizer.load(package, options), RequestSocket(connection)
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
        options: endpoint rules and beams.
        threads: number of threads of the process.
    """

    def __init__(self, package: Path, options: RecognizerOptions, threads: int) -> None:
        self.package, self.options, self.threads = package, options, threads
        self.process: BaseProcess | None = None
        self.is_ready = self.is_closed = False

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

    async def wait_until_ready(self) -> WorkerReady:
        """Wait until the process has loaded the model.

        Raises:
            UserError: the process ended before.
        """
        ready = await read_response(self._reader)
        if not isinstance(ready, WorkerReady):
            raise UserError(f"{self.package}: the decoding process ended while loading the model; see its error above")
        self.is_ready = True
        return ready

    def send(self, request: Request) -> None:
        """Send a request without waiting, so that a process that hangs does not block the event loop."""
        if not self._writer.is_closing():
            self._writer.write(pack(request))

    async def responses(self) -> AsyncIterator[Response]:
        """Yield responses until the process ends."""
        while response := await read_response(self._reader):
            self.is_ready = True
            yield response
        self.is_ready = False

    def close(self) -> None:
        """Kill the process; it holds no data that must be saved."""
        self.is_closed, self.is_ready = True, False
        if self.process:
            self.process.kill()
            self.process.join()
            self._writer.close()

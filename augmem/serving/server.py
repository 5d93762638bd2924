"""A websocket server: audio in, words out (PROTOCOL.md describes the messages, docs/packet.md the path of a packet).

One event loop serves all connections; decoding runs in worker processes. A connection is refused before it uses
resources and is not read faster than its audio is decoded. An error of one connection does not affect others.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from augmem.errors import UserError
from augmem.serving.access import SECURITY_HEADERS, Denial, check_host, check_origin_header, check_token
from augmem.serving.config import ServerConfig
from augmem.serving.handshakes import (
    HANDSHAKE_TIMEOUT,
    FirstBytes,
    Handshakes,
    IncomingConnection,
    handshake_logger,
)
from augmem.serving.messages import StreamFailed, StreamUpdate
from augmem.serving.metrics import Metrics
from augmem.serving.pages import load_pages
from augmem.serving.served_stream import POLICY_VIOLATION, ServedStream
from augmem.serving.worker import Worker
from augmem.serving.worker_stream import WorkerStream

if TYPE_CHECKING:
    from augmem.serving.engines import EngineChoice
    from augmem.serving.transcriptions import FileStream, TranscriptionService

logger = logging.getLogger(__name__)
StreamT = TypeVar("StreamT", bound=WorkerStream)

FULL = "the server is full; try again later"
SHUTDOWN_TIMEOUT = 8.0  # seconds for open streams to finish
CLOSING_TIMEOUT = 1.0  # seconds for closing the connections after that
EVICTION_TIME = 5.0  # seconds without a message after which a client is closed in favour of a new one
_POLLING = 0.05  # seconds


class RecognitionServer:
    """Serve streaming recognition over websockets, with a web page, a health check and metrics.

    Args:
        package: a packaged model, of either engine.
        config: address and limits.
        options: `RecognizerOptions`, or `EngineOptions` of the onnx engine; None: the default.
    """

    def __init__(self, package: Path, config: ServerConfig, options: EngineChoice = None) -> None:
        self.package, self.config = package, config
        self.streams: dict[int, WorkerStream] = {}
        self.metrics = Metrics()
        self.workers = [Worker(package, options, config.threads) for _ in range(config.workers)]
        self.is_stopping = self.is_cut_off = False
        self.pages = load_pages()
        self._handshakes = Handshakes()
        self._numbers = count()
        self._transcriptions: TranscriptionService | None = None
        self._supervisors: list[asyncio.Task[None]] = []

    async def start(self) -> Server:
        """Start the workers, wait until they have loaded the model, and listen.

        Raises:
            UserError: the package or the certificate cannot be loaded, or a limit does not suit the model.
            OSError: the address is not available.
        """
        context = load_certificate(self.config)
        self._transcriptions = make_transcriptions(self)
        try:
            for worker in self.workers:
                await worker.start()
            for worker in self.workers:
                self._check_buffer((await worker.wait_until_ready()).chunk)
            self._supervisors = [asyncio.create_task(self._supervise(worker)) for worker in self.workers]
            return await self._listen(context)
        except BaseException:
            self._close_workers()
            raise

    def _check_buffer(self, chunk: float) -> None:
        """Raise UserError if a stream's buffer is smaller than a chunk, which would never be decoded."""
        if self.config.max_buffered < chunk:
            raise UserError(
                f"server.max_buffered is {self.config.max_buffered:g} s; the model decodes chunks of {chunk:g} s: "
                "use a larger value"
            )

    async def _listen(self, context: ssl.SSLContext | None) -> Server:
        # No ping timeout: the answer to a ping waits behind unread audio. The idle timeout detects lost clients.
        config = self.config
        return await serve(
            self._handle, config.host, config.port, process_request=self._respond, max_size=config.max_message,
            max_queue=4, ssl=context, ping_interval=20, ping_timeout=None, open_timeout=HANDSHAKE_TIMEOUT,
            close_timeout=CLOSING_TIMEOUT, create_connection=self._accept,  # type: ignore[arg-type]
            logger=handshake_logger(),
        )  # fmt: skip

    def _accept(self, *args: Any, **options: Any) -> FirstBytes:
        """Return the protocol of a new connection; the arguments are those of `ServerConnection`."""
        http = self._transcriptions.http if self._transcriptions else None
        return FirstBytes(self._handshakes, IncomingConnection(self._handshakes, *args, **options), http)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then let open streams finish; a second signal cuts them off."""
        server = await self.start()
        stop = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, self._receive_signal, stop)
        scheme = "https" if self.config.certificate else "http"
        logger.info("listening on %s://%s:%d", scheme, *server.sockets[0].getsockname()[:2])
        await stop.wait()
        logger.info("stopping: waiting for %d streams to finish; a second signal ends them", len(self.streams))
        await self.stop(server)

    def _receive_signal(self, stop: asyncio.Event) -> None:
        self.is_cut_off = stop.is_set()
        stop.set()

    async def stop(self, server: Server, timeout: float = SHUTDOWN_TIMEOUT) -> None:
        """Accept no new streams, finish the open ones, and end the workers.

        Args:
            timeout: seconds after which unfinished streams are cut off.
        """
        self.is_stopping = True
        for stream in self.streams.values():
            stream.shut_down()
        deadline = time.monotonic() + timeout
        while self.streams and time.monotonic() < deadline and not self.is_cut_off:
            await asyncio.sleep(_POLLING)
        for stream in self.streams.values():
            stream.abort()
        self._handshakes.abort()
        server.close()
        if self._transcriptions:
            await self._transcriptions.http.shutdown(CLOSING_TIMEOUT)
        with suppress(asyncio.TimeoutError):  # clients that do not complete a handshake
            await asyncio.wait_for(server.wait_closed(), CLOSING_TIMEOUT)
        self._close_workers()
        await asyncio.gather(*self._supervisors)

    def _close_workers(self) -> None:
        for worker in self.workers:
            worker.close()

    async def _supervise(self, worker: Worker) -> None:
        """Dispatch the responses of a worker until it is closed; replace its process when it dies."""
        while not worker.is_closed:
            async for response in worker.responses():
                if isinstance(response, StreamUpdate | StreamFailed):
                    self._dispatch(response)
            if not worker.is_closed:
                await self._replace_process(worker)

    async def _replace_process(self, worker: Worker) -> None:
        """Start another process, unless the server stops, and report an error to the streams of the old one."""
        logger.error("a decoding process died")
        self.metrics.restarts.inc()
        worker.close()
        if not self.is_stopping:
            await worker.start()
        for stream in self.streams.values():  # those opened during the restart included
            if stream.worker is worker:
                stream.update(StreamFailed(stream.number, "the decoding process died; connect again"))

    def _dispatch(self, response: StreamUpdate | StreamFailed) -> None:
        if isinstance(response, StreamUpdate):
            self.metrics.audio.inc(response.decoded)
        if stream := self.streams.get(response.stream):
            stream.update(response)

    async def _handle(self, connection: ServerConnection) -> None:
        """Serve one connection."""
        if self._is_full() and not self._evict():  # other connections may have come since the handshake
            await connection.close(POLICY_VIOLATION, FULL)
            return
        number = next(self._numbers)
        stream = ServedStream(number, connection, self._least_busy_worker(), self.config, self.metrics)
        stream.is_shutting_down = self.is_stopping
        with self._register(stream):
            await stream.run()

    @contextmanager
    def admit_file(self, transport: asyncio.BaseTransport | None) -> Iterator[FileStream]:
        """Register the stream of a request with a file while it is answered.

        Raises:
            Denied: the server is full, or shutting down.
        """
        from augmem.serving.transcriptions import FileStream
        from augmem.serving.uploads import Denied

        if denial := self._check_capacity():
            raise Denied(*denial)
        if self._is_full():
            self._evict()
        with self._register(
            FileStream(next(self._numbers), transport, self._least_busy_worker(), self.config)
        ) as stream:
            yield stream

    @contextmanager
    def _register(self, stream: StreamT) -> Iterator[StreamT]:
        self.streams[stream.number] = stream
        self.metrics.streams.set(len(self.streams))
        try:
            yield stream
        finally:
            self.streams.pop(stream.number, None)
            self.metrics.streams.set(len(self.streams))

    def _least_busy_worker(self) -> Worker:
        used = [stream.worker for stream in self.streams.values()]
        return min(self.workers, key=used.count)

    def _is_full(self) -> bool:
        return len(self.streams) >= self.config.max_streams

    def _idle_streams(self) -> list[WorkerStream]:
        """Return the streams of clients without a message for some time, the longest first."""
        latest = time.monotonic() - EVICTION_TIME
        idle = [(stream.waiting_since, number) for number, stream in self.streams.items() if stream.waiting_since]
        return [self.streams[number] for since, number in sorted(idle) if since < latest]

    def _evict(self) -> bool:
        """Close the connection that has been idle longest; return whether there was one."""
        for stream in self._idle_streams()[:1]:
            self.streams.pop(stream.number).evict()
            return True
        return False

    def _respond(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer an HTTP request; return None to accept a websocket."""
        self._handshakes.discard(connection)
        if denial := check_host(request, self.config.host, self.config.allow_origin):
            return self._refuse(connection, denial)
        if "Upgrade" not in request.headers:
            return self._respond_with_page(connection, urlsplit(request.path).path)
        if denial := self._check_websocket(request):
            return self._refuse(connection, denial)
        return None

    def _respond_with_page(self, connection: ServerConnection, path: str) -> Response:
        if path == "/health":
            return self._health(connection)
        if path == "/metrics":
            return respond(connection, HTTPStatus.OK, self.metrics.to_text(), "text/plain; version=0.0.4")
        if page := self.pages.get(path):
            return respond(connection, HTTPStatus.OK, *page)
        return self._refuse(connection, Denial(HTTPStatus.NOT_FOUND, "no such page; try /, /health or /metrics"))

    def _check_websocket(self, request: Request) -> Denial | None:
        denial = check_origin_header(request, self.config.allow_origin) or check_token(request, self.config.token)
        return denial or self._check_capacity()

    def _check_capacity(self) -> Denial | None:
        """Refuse a stream that cannot be served."""
        if self.is_stopping:
            return Denial(HTTPStatus.SERVICE_UNAVAILABLE, "the server is shutting down")
        return Denial(HTTPStatus.SERVICE_UNAVAILABLE, FULL) if self._is_full() and not self._idle_streams() else None

    def _health(self, connection: ServerConnection) -> Response:
        """Respond with status 200 if streams are accepted, else with 503, so that load balancers avoid this server."""
        is_ready = all(worker.is_ready for worker in self.workers)
        status = "stopping" if self.is_stopping else "ok" if is_ready else "starting"
        code = HTTPStatus.OK if status == "ok" else HTTPStatus.SERVICE_UNAVAILABLE
        return respond(connection, code, json.dumps({"status": status, "streams": len(self.streams)}))

    def _refuse(self, connection: ServerConnection, denial: Denial) -> Response:
        self.count_refusal(str(connection.remote_address), denial)
        return respond(connection, denial.status, f"{denial.reason}\n", "text/plain; charset=utf-8")

    def count_refusal(self, client: str, denial: Denial) -> None:
        """Log and count a refused request."""
        logger.info("refused %s: status %d: %s", client, denial.status, denial.reason)
        self.metrics.refused.labels(denial.status.phrase).inc()

    def complete_handshake(self, transport: asyncio.BaseTransport | None) -> None:
        """Note that the head of a POST request has been received."""
        self._handshakes.complete(transport)


def make_transcriptions(server: RecognitionServer) -> TranscriptionService | None:
    """Return the service that transcribes files, if aiohttp is installed."""
    try:
        from augmem.serving.transcriptions import TranscriptionService
    except ModuleNotFoundError as error:
        logger.info("no transcription of files by POST: %s is not installed", error.name)
        return None
    return TranscriptionService(server)


def respond(
    connection: ServerConnection, status: HTTPStatus, text: str, content_type: str = "application/json"
) -> Response:
    """Return an HTTP response of a given content type, with the security headers.

    Args:
        connection: connection of the request.
        status: HTTP status.
        text: body.
        content_type: media type of the body.
    """
    response = connection.respond(status, text)
    del response.headers["Content-Type"]
    response.headers.update({"Content-Type": content_type, **SECURITY_HEADERS})
    return response


def load_certificate(config: ServerConfig) -> ssl.SSLContext | None:
    """Return the TLS context, or None if no certificate is configured.

    Raises:
        UserError: certificate and key cannot be loaded.
    """
    if config.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.certificate, config.key)
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"{config.certificate}, {config.key}: not a certificate and its key ({error})") from error
    return context

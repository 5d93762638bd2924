"""A websocket server: audio in, words out (PROTOCOL.md describes the messages, docs/packet.md the path of a packet).

One event loop serves all connections; decoding runs in worker processes. A connection is refused before it uses
resources and is not read faster than its audio is decoded. An error of one connection does not affect others.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import signal
import ssl
import time
from http import HTTPStatus
from importlib import resources
from itertools import count
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from augmem.errors import UserError
from augmem.serving.config import ServerConfig
from augmem.serving.messages import StreamFailed, StreamUpdate
from augmem.serving.metrics import Metrics
from augmem.serving.served_stream import POLICY_VIOLATION, ServedStream
from augmem.serving.worker import Worker
from augmem.streaming import RecognizerOptions

logger = logging.getLogger(__name__)

FULL = "the server is full; try again later"
SHUTDOWN_TIMEOUT = 10.0  # seconds for open streams to finish
_POLLING = 0.05  # seconds


class RecognitionServer:
    """Serve streaming recognition over websockets, with a web page, a health check and metrics.

    Args:
        package: a packaged model.
        config: address and limits.
        options: endpoint rules and beams.
    """

    def __init__(self, package: Path, config: ServerConfig, options: RecognizerOptions | None = None) -> None:
        self.package, self.config = package, config
        self.streams: dict[int, ServedStream] = {}
        self.metrics = Metrics()
        self.workers = [Worker(package, options or RecognizerOptions(), config.threads) for _ in range(config.workers)]
        self.is_stopping = False
        self.page = (resources.files("augmem.serving") / "page.html").read_text(encoding="utf-8")
        self._numbers = count()
        self._supervisors: list[asyncio.Task[None]] = []

    async def start(self) -> Server:
        """Start the workers, wait until they have loaded the model, and listen.

        Raises:
            UserError: the package or the certificate cannot be loaded, or a limit does not suit the model.
            OSError: the address is not available.
        """
        context = load_certificate(self.config)
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
            max_queue=4, ssl=context, ping_interval=20, ping_timeout=None,
        )  # fmt: skip

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then let open streams finish."""
        server = await self.start()
        stop = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        scheme = "https" if self.config.certificate else "http"
        logger.info("listening on %s://%s:%d", scheme, *server.sockets[0].getsockname()[:2])
        await stop.wait()
        logger.info("stopping: waiting for %d streams to finish", len(self.streams))
        await self.stop(server)

    async def stop(self, server: Server, timeout: float = SHUTDOWN_TIMEOUT) -> None:
        """Accept no new streams, finish the open ones, and end the workers.

        Args:
            timeout: seconds after which unfinished streams are cut off.
        """
        self.is_stopping = True
        for stream in self.streams.values():
            stream.shut_down()
        deadline = time.monotonic() + timeout
        while self.streams and time.monotonic() < deadline:
            await asyncio.sleep(_POLLING)
        server.close()
        await server.wait_closed()
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
        if self._is_full():  # other connections may have come since the handshake
            await connection.close(POLICY_VIOLATION, FULL)
            return
        number = next(self._numbers)
        stream = ServedStream(number, connection, self._least_busy_worker(), self.config, self.metrics)
        stream.is_shutting_down = self.is_stopping
        self.streams[number] = stream
        self.metrics.streams.set(len(self.streams))
        try:
            await stream.run()
        finally:
            del self.streams[number]
            self.metrics.streams.set(len(self.streams))

    def _least_busy_worker(self) -> Worker:
        used = [stream.worker for stream in self.streams.values()]
        return min(self.workers, key=used.count)

    def _is_full(self) -> bool:
        return len(self.streams) >= self.config.max_streams

    def _respond(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer an HTTP request; return None to accept a websocket."""
        path = urlsplit(request.path).path
        if path == "/health":
            return self._health(connection)
        if path == "/metrics":
            return respond(connection, HTTPStatus.OK, self.metrics.to_text(), "text/plain; version=0.0.4")
        if "Upgrade" not in request.headers:
            if path == "/":
                return respond(connection, HTTPStatus.OK, self.page, "text/html; charset=utf-8")
            return self._refuse(connection, HTTPStatus.NOT_FOUND, "no such page; try /, /health or /metrics")
        return self._check_websocket(connection, request)

    def _check_websocket(self, connection: ServerConnection, request: Request) -> Response | None:
        if not is_authorised(request, self.config.token):
            return self._refuse(connection, HTTPStatus.UNAUTHORIZED, "wrong or missing token")
        if self.is_stopping:
            return self._refuse(connection, HTTPStatus.SERVICE_UNAVAILABLE, "the server is shutting down")
        if self._is_full():
            return self._refuse(connection, HTTPStatus.SERVICE_UNAVAILABLE, FULL)
        return None

    def _health(self, connection: ServerConnection) -> Response:
        """Respond with status 200 if streams are accepted, else with 503, so that load balancers avoid this server."""
        is_ready = all(worker.is_ready for worker in self.workers)
        status = "stopping" if self.is_stopping else "ok" if is_ready else "starting"
        code = HTTPStatus.OK if status == "ok" else HTTPStatus.SERVICE_UNAVAILABLE
        return respond(connection, code, json.dumps({"status": status, "streams": len(self.streams)}))

    def _refuse(self, connection: ServerConnection, status: HTTPStatus, reason: str) -> Response:
        self.metrics.refused.labels(status.phrase).inc()
        return connection.respond(status, f"{reason}\n")


def respond(
    connection: ServerConnection, status: HTTPStatus, text: str, content_type: str = "application/json"
) -> Response:
    """Return an HTTP response of a given content type."""
    response = connection.respond(status, text)
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = content_type
    return response


def is_authorised(request: Request, token: str | None) -> bool:
    """Return whether a request has the token, as ?token=... or in its Authorization header."""
    if token is None:
        return True
    in_query = parse_qs(urlsplit(request.path).query).get("token", [""])[0]
    given = in_query or request.headers.get("Authorization", "").removeprefix("Bearer ")
    return hmac.compare_digest(given.encode(), token.encode())


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

"""A websocket server: audio in, words out; see PROTOCOL.md for the wire format.

One event loop for all connections, decoding in worker processes. A connection is refused before it costs anything,
is never read faster than it is decoded, and no fault of one reaches another.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import signal
import ssl
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib import resources
from itertools import count
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from augmem.serving.config import ServerConfig
from augmem.serving.worker import Message, Worker
from augmem.streaming import RecognizerOptions

logger = logging.getLogger(__name__)

FORMATS: dict[str, np.dtype] = {"int16": np.dtype("<i2"), "float32": np.dtype("<f4")}
_GOING_AWAY, _POLICY = 1001, 1008
_GATHERED = 0.05  # seconds of audio handed over at once: a message for every sample would cost more than decoding
_PATIENCE = 2.0  # seconds for a client that is being refused to take note of it


class Refusal(Exception):  # noqa: N818 - it ends a conversation, not a program
    """What a client is told before its connection is closed."""


@dataclass
class Session:
    """One connection's stream.

    Args:
        connection: to the client.
        worker: index of the worker that decodes it.
        inbox: what the worker says about it.
        waiting: seconds of audio handed over but not yet heard.
        ended: when the client said that there is no more audio.
    """

    connection: ServerConnection
    worker: int
    inbox: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    waiting: float = 0.0
    drained: asyncio.Event = field(default_factory=asyncio.Event)
    ended: float | None = None


class Metrics:
    """Figures for Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.streams = Gauge("augmem_streams", "open streams", registry=self.registry)
        self.served = Counter("augmem_streams_served", "streams that ended well", registry=self.registry)
        self.refused = Counter("augmem_refused", "connections and streams refused", ["reason"], registry=self.registry)
        self.audio = Counter("augmem_audio_seconds", "audio decoded", registry=self.registry)
        self.latency = Histogram(
            "augmem_final_latency_seconds", "from the end of audio to the last words", registry=self.registry,
            buckets=(0.1, 0.2, 0.5, 1, 2, 5, 10),
        )  # fmt: skip
        self.restarts = Counter("augmem_worker_restarts", "decoding processes that died", registry=self.registry)


class RecognitionServer:
    """Sessions, workers and HTTP around them.

    Args:
        package: a packaged model.
        config: address and limits.
        options: how streams are recognised.
    """

    def __init__(self, package: Path, config: ServerConfig, options: RecognizerOptions | None = None) -> None:
        self.package, self.config, self.options = package, config, options or RecognizerOptions()
        self.sessions: dict[int, Session] = {}
        self.numbers = count()
        self.metrics = Metrics()
        self.workers: list[Worker] = []
        self.stopping = False
        self.page = (resources.files("augmem.serving") / "page.html").read_text(encoding="utf-8")

    async def start(self) -> Server:
        """Start workers, wait until they have loaded the model, and listen.

        Raises:
            ValueError: the package cannot be loaded, or the certificate cannot.
            OSError: the address cannot be had.
        """
        context = tls(self.config)  # a wrong certificate is told before a model is loaded
        self.loop = asyncio.get_running_loop()
        self.ready = [asyncio.Event() for _ in range(self.config.workers)]
        self.workers = [self._worker(index) for index in range(self.config.workers)]
        try:
            return await self._listening(context)
        except BaseException:
            self._close_workers()
            raise

    async def _listening(self, context: ssl.SSLContext | None) -> Server:
        """The open server, once all workers are ready."""
        for event, worker in zip(self.ready, self.workers, strict=True):
            while not event.is_set():
                if not worker.process.is_alive():
                    raise ValueError(f"{self.package}: the decoding process ended while loading it; see above")
                await asyncio.sleep(0.05)
        config = self.config
        return await serve(  # no ping_timeout: a pong waits behind audio that is not read yet; `idle` finds the dead
            self.handle, config.host, config.port, process_request=self.answer_http, max_size=config.max_message,
            max_queue=4, ssl=context, ping_interval=20, ping_timeout=None,
        )  # fmt: skip

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; then let the open streams finish."""
        server = await self.start()
        stop = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(name, stop.set)
        scheme = "https" if self.config.certificate else "http"
        logger.info("listening on %s://%s:%d", scheme, *server.sockets[0].getsockname()[:2])
        await stop.wait()
        logger.info("stopping: %d streams are being finished", len(self.sessions))
        await self.stop(server)

    async def stop(self, server: Server, patience: float = 10.0) -> None:
        """Take no new streams, finish those there are, end the workers."""
        self.stopping = True
        for number, session in self.sessions.items():
            self.workers[session.worker].send((number, "end", None))
        deadline = time.monotonic() + patience
        while self.sessions and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        server.close()
        await server.wait_closed()
        self._close_workers()

    def _close_workers(self) -> None:
        for worker in self.workers:
            worker.close()

    def answer_http(self, connection: ServerConnection, request: Request) -> Response | None:
        """Health, metrics and the page; None lets a websocket in."""
        path = urlsplit(request.path).path
        if path == "/health":
            return self._health(connection)
        if path == "/metrics":
            text = generate_latest(self.metrics.registry).decode()
            return respond(connection, HTTPStatus.OK, text, "text/plain; version=0.0.4")
        if "Upgrade" not in request.headers:
            if path == "/":
                return respond(connection, HTTPStatus.OK, self.page, "text/html; charset=utf-8")
            return self._refuse(connection, HTTPStatus.NOT_FOUND, "there are /, /health, /metrics and websockets")
        if not self._authorised(request):
            return self._refuse(connection, HTTPStatus.UNAUTHORIZED, "wrong or missing token")
        if self.stopping:
            return self._refuse(connection, HTTPStatus.SERVICE_UNAVAILABLE, "shutting down")
        if len(self.sessions) >= self.config.max_streams:
            return self._refuse(connection, HTTPStatus.SERVICE_UNAVAILABLE, "full: try again later")
        return None

    def _health(self, connection: ServerConnection) -> Response:
        """Status 503 tells a load balancer to send nobody here."""
        able = all(event.is_set() for event in self.ready)
        word = "stopping" if self.stopping else "ok" if able else "starting"
        status = HTTPStatus.OK if word == "ok" else HTTPStatus.SERVICE_UNAVAILABLE
        state = {"status": word, "streams": len(self.sessions)}
        return respond(connection, status, json.dumps(state), "application/json")

    async def handle(self, connection: ServerConnection) -> None:
        """One conversation, from its first message to its last words."""
        if len(self.sessions) >= self.config.max_streams:  # others came in between
            await connection.close(_POLICY, "full: try again later")
            return
        number, worker = next(self.numbers), self._least_busy()
        session = self.sessions[number] = Session(connection, worker)
        session.drained.set()
        self.metrics.streams.set(len(self.sessions))
        self.workers[worker].send((number, "open", None))
        if self.stopping:  # since the handshake
            self.workers[worker].send((number, "end", None))
        speaker = asyncio.create_task(self._tell(session))
        listener = asyncio.create_task(self._listen(number, session))
        try:
            await asyncio.wait([speaker, listener], return_when=asyncio.FIRST_EXCEPTION)
            for task in (listener, speaker):
                if task.done():
                    task.result()
            await speaker
        except Refusal as refusal:
            await silence(listener, speaker)
            await self._close(session, str(refusal))
        except ConnectionClosed:
            pass  # the client has gone; so does its stream
        finally:
            await silence(listener, speaker)
            del self.sessions[number]
            self.metrics.streams.set(len(self.sessions))
            self.workers[session.worker].send((number, "drop", None))

    async def _listen(self, number: int, session: Session) -> None:
        """Hand a client's audio over, no faster than it is decoded."""
        rate, kind = opening(await self._next(session))
        gathered = bytearray()
        while True:
            message = await self._next(session)
            if self.stopping:
                continue  # the stream is being finished; a client that still speaks may hear its last words
            if isinstance(message, str):
                if parsed(message) != {"end": True}:
                    raise Refusal(f'expected audio or {{"end": true}}, got {message[:100]!r}')
                self._hand_over(number, session, np.frombuffer(gathered, kind), rate)
                session.ended = time.monotonic()
                self.workers[session.worker].send((number, "end", None))
                return
            if len(message) % kind.itemsize:
                raise Refusal(f"a packet of {len(message)} bytes is no whole number of {kind.name} samples")
            if session.inbox.qsize() > self.config.max_unread:
                raise Refusal("results are not being read")
            gathered += message
            if len(gathered) >= _GATHERED * rate * kind.itemsize:
                self._hand_over(number, session, np.frombuffer(bytes(gathered), kind), rate)
                gathered.clear()
            if session.waiting > self.config.max_buffered:
                session.drained.clear()
                await session.drained.wait()

    def _hand_over(self, number: int, session: Session, samples: np.ndarray, rate: int) -> None:
        """Give a stream's worker what has been said."""
        if len(samples):
            session.waiting += len(samples) / rate
            self.workers[session.worker].send((number, "audio", (samples, rate)))

    async def _next(self, session: Session) -> str | bytes:
        try:
            return await asyncio.wait_for(session.connection.recv(), self.config.idle)
        except asyncio.TimeoutError as error:
            raise Refusal(f"nothing came for {self.config.idle:g} s") from error

    async def _tell(self, session: Session) -> None:
        """Pass on what the worker says; a slow reader makes only its own stream wait."""
        while True:
            _, kind, payload = await session.inbox.get()
            if kind == "events":
                for event in payload:
                    await self._send(session, event)
            elif kind == "error":
                raise Refusal(payload)
            elif kind == "done":
                if session.ended is not None:
                    self.metrics.latency.observe(time.monotonic() - session.ended)
                self.metrics.served.inc()
                await self._send(session, json.dumps({"done": True}))
                await session.connection.close(_GOING_AWAY if self.stopping else 1000)
                return

    async def _send(self, session: Session, event: str) -> None:
        """Pass on one event; a client that has said its last word and reads nothing may not stay for ever."""
        try:
            await asyncio.wait_for(session.connection.send(event), self.config.idle)
        except asyncio.TimeoutError as error:
            raise Refusal(f"results have not been read for {self.config.idle:g} s") from error

    async def _close(self, session: Session, reason: str) -> None:
        self.metrics.refused.labels("stream").inc()
        try:
            await asyncio.wait_for(session.connection.send(json.dumps({"error": reason})), _PATIENCE)
            await session.connection.close(_POLICY, reason.encode()[:100].decode(errors="ignore"))  # 123 bytes at most
        except asyncio.TimeoutError:  # it reads nothing, so it cannot be told either
            session.connection.transport.abort()
        except ConnectionClosed:
            pass

    def _receive(self, index: int, message: Message) -> None:
        """A worker's message, in the event loop."""
        number, kind, payload = message
        if kind == "ready":
            self.ready[index].set()
        elif kind == "died":
            self._replace(index)
        elif session := self.sessions.get(number):
            if kind == "heard":
                self.metrics.audio.inc(payload)
                session.waiting -= payload
                if session.waiting <= self.config.max_buffered:
                    session.drained.set()
            else:
                session.inbox.put_nowait(message)

    def _replace(self, index: int) -> None:
        """A worker has died: its streams are told, a new one takes its place."""
        self.metrics.restarts.inc()
        logger.error("decoding process %d died; starting another", index)
        for number, session in self.sessions.items():
            if session.worker == index:
                session.inbox.put_nowait((number, "error", "the decoding process died: connect again"))
                session.drained.set()
        self.workers[index].close()
        if not self.stopping:
            self.ready[index].clear()
            self.workers[index] = self._worker(index)

    def _worker(self, index: int) -> Worker:
        def receive(message: Message) -> None:
            self.loop.call_soon_threadsafe(self._receive, index, message)

        return Worker(self.package, self.options, self.config.threads, receive)

    def _least_busy(self) -> int:
        used = [session.worker for session in self.sessions.values()]
        return min(range(len(self.workers)), key=used.count)

    def _authorised(self, request: Request) -> bool:
        if self.config.token is None:
            return True
        named = parse_qs(urlsplit(request.path).query).get("token", [""])[0]
        given = named or request.headers.get("Authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), self.config.token.encode())

    def _refuse(self, connection: ServerConnection, status: HTTPStatus, reason: str) -> Response:
        self.metrics.refused.labels(status.phrase).inc()
        return connection.respond(status, f"{reason}\n")


async def silence(*tasks: asyncio.Task[None]) -> None:
    """End tasks, whatever they have to say."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def respond(connection: ServerConnection, status: HTTPStatus, text: str, kind: str) -> Response:
    """An HTTP answer of another type than plain text."""
    response = connection.respond(status, text)
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = kind
    return response


def opening(message: str | bytes) -> tuple[int, np.dtype]:
    """Rate and sample type of a stream, as its first message names them.

    Raises:
        Refusal: it does not.
    """
    facts = parsed(message) if isinstance(message, str) else None
    if not isinstance(facts, dict):
        raise Refusal('the first message must be text such as {"sample_rate": 16000, "format": "int16"}')
    rate, kind = facts.get("sample_rate"), facts.get("format", "int16")
    if not isinstance(rate, int) or isinstance(rate, bool) or not 4000 <= rate <= 192000:
        raise Refusal(f"sample_rate {rate!r}: must be a whole number of Hz from 4000 to 192000")
    if not isinstance(kind, str) or kind not in FORMATS:
        raise Refusal(f"format {kind!r}: must be one of {', '.join(FORMATS)}")
    return rate, FORMATS[kind]


def parsed(message: str) -> object:
    """A JSON message; None if it is none."""
    try:
        return json.loads(message)
    except (ValueError, RecursionError):  # the latter from a thousand brackets
        return None


def tls(config: ServerConfig) -> ssl.SSLContext | None:
    """The TLS context of a configuration that names a certificate."""
    if config.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.certificate, config.key)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"{config.certificate}, {config.key}: not a certificate and its key ({error})") from error
    return context

"""Connections that have not sent their HTTP request yet.

A client may open connections and send nothing. There are at most `MAX_HANDSHAKES` of them: a new one replaces the
oldest, as with half-open TCP connections, so that they neither use up the file descriptors nor lock others out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from websockets.asyncio.server import ServerConnection

MAX_HANDSHAKES = 256
HANDSHAKE_TIMEOUT = 5.0  # seconds
_POST = b"POST "


class _Incoming(Protocol):
    """A connection with a transport."""

    transport: asyncio.Transport


class Handshakes:
    """Connections whose request is incomplete, in the order of their arrival."""

    def __init__(self, limit: int = MAX_HANDSHAKES) -> None:
        self.limit = limit
        self._connections: dict[_Incoming, None] = {}

    def add(self, connection: _Incoming) -> None:
        """Add a connection; abort the oldest one above the limit."""
        self._connections[connection] = None
        if len(self._connections) > self.limit:
            oldest = next(iter(self._connections))
            self.discard(oldest)
            oldest.transport.abort()

    def discard(self, connection: _Incoming) -> None:
        """Remove a connection that has sent its request or is closed."""
        self._connections.pop(connection, None)

    def complete(self, transport: asyncio.BaseTransport | None) -> None:
        """Remove the connection of a transport, which has sent its request."""
        for connection in [connection for connection in self._connections if connection.transport is transport]:
            self.discard(connection)

    def abort(self) -> None:
        """Close all connections."""
        connections, self._connections = self._connections, {}
        for connection in connections:
            connection.transport.abort()

    def __contains__(self, connection: _Incoming) -> bool:
        return connection in self._connections


class IncomingConnection(ServerConnection):
    """A connection that registers itself until its request is complete."""

    def __init__(self, handshakes: Handshakes, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._handshakes = handshakes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection."""
        super().connection_made(transport)
        self._handshakes.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection."""
        self._handshakes.discard(self)
        super().connection_lost(exc)


class FirstBytes(asyncio.Protocol):
    """Reads the method of a request and passes the connection on: POST to HTTP, all others to websockets.

    Args:
        handshakes: counts the connection until its request is complete.
        websocket: the connection, if it is one of websockets.
        http: makes the protocol of POST requests; None: websockets refuses them.
    """

    def __init__(
        self, handshakes: Handshakes, websocket: ServerConnection, http: Callable[[], asyncio.Protocol] | None
    ) -> None:
        self._handshakes, self._websocket, self._http = handshakes, websocket, http
        self._received = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection, and limit the time of its request."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._handshakes.add(self)
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_TIMEOUT, self._expire)

    def data_received(self, data: bytes) -> None:
        """Choose the protocol once the method has been received."""
        self._received += data
        begin = self._received[: len(_POST)]
        if self._http and begin == _POST:
            self._pass_on(self._http())  # counted until the head of the request is complete
        elif not self._http or not _POST.startswith(begin):
            self.connection_lost(None)
            self._pass_on(self._websocket)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection."""
        self._timer.cancel()
        self._handshakes.discard(self)

    def _pass_on(self, protocol: asyncio.Protocol) -> None:
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        protocol.data_received(self._received)

    def _expire(self) -> None:
        if self in self._handshakes:
            self._handshakes.discard(self)
            self.transport.abort()


def handshake_logger() -> logging.Logger:
    """Return the websockets library's logger without its report, with a traceback, of each incomplete handshake."""
    logger = logging.getLogger("websockets.server")
    logger.addFilter(is_no_failed_handshake)  # once, however often it is added
    return logger


def is_no_failed_handshake(record: logging.LogRecord) -> bool:
    """Return whether a log record reports something else than a handshake that a client did not complete."""
    return record.msg != "opening handshake failed"

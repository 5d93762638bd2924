"""Connections that have not sent their HTTP request yet.

A client may open connections and send nothing. There are at most `MAX_HANDSHAKES` of them: a new one replaces the
oldest, as with half-open TCP connections, so that they neither use up the file descriptors nor lock others out.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from websockets.asyncio.server import ServerConnection

MAX_HANDSHAKES = 256


class Handshakes:
    """Connections whose request is incomplete, in the order of their arrival."""

    def __init__(self, limit: int = MAX_HANDSHAKES) -> None:
        self.limit = limit
        self._connections: dict[ServerConnection, None] = {}

    def add(self, connection: ServerConnection) -> None:
        """Add a connection; abort the oldest one above the limit."""
        self._connections[connection] = None
        if len(self._connections) > self.limit:
            oldest = next(iter(self._connections))
            self.discard(oldest)
            oldest.transport.abort()

    def discard(self, connection: ServerConnection) -> None:
        """Remove a connection that has sent its request or is closed."""
        self._connections.pop(connection, None)


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


def handshake_logger() -> logging.Logger:
    """Return the websockets library's logger without its report, with a traceback, of each incomplete handshake."""
    logger = logging.getLogger("websockets.server")
    if is_no_failed_handshake not in logger.filters:
        logger.addFilter(is_no_failed_handshake)
    return logger


def is_no_failed_handshake(record: logging.LogRecord) -> bool:
    """Return whether a log record reports something else than a handshake that a client did not complete."""
    return record.msg != "opening handshake failed"

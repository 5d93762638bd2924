"""Messages between the server and its decoding processes, and their framing on a socket.

A message is a pickled dataclass after four bytes of its size. Both ends belong to one server; nothing that a client
sends is unpickled. The field `stream` is the number of a stream, unique within the server.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
from dataclasses import dataclass
from multiprocessing.connection import wait

import numpy as np

from augmem.streaming import HotwordLine

_SIZE_BYTES = 4


@dataclass(frozen=True)
class OpenStream:
    """Create a stream."""

    stream: int


@dataclass(frozen=True)
class SetHotwords:
    """Set the hotwords of a stream, before its audio."""

    stream: int
    hotwords: tuple[HotwordLine, ...]


@dataclass(frozen=True)
class AudioPacket:
    """Append audio to a stream.

    Args:
        samples: (n,) int16, or float32 in [-1, 1].
        sample_rate: Hz.
    """

    stream: int
    samples: np.ndarray
    sample_rate: int

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate


@dataclass(frozen=True)
class FinishStream:
    """Mark the end of a stream's audio; its last results follow."""

    stream: int


@dataclass(frozen=True)
class CloseStream:
    """Discard a stream."""

    stream: int


@dataclass(frozen=True)
class WorkerReady:
    """The model is loaded.

    Args:
        chunk: seconds of audio that one step decodes.
    """

    chunk: float


@dataclass(frozen=True)
class StreamUpdate:
    """Results of a stream.

    Args:
        decoded: seconds of audio decoded since the last update.
        events: JSON texts of the events since the last update.
        done: whether the stream has ended; no update follows.
    """

    stream: int
    decoded: float
    events: tuple[str, ...] = ()
    done: bool = False


@dataclass(frozen=True)
class StreamFailed:
    """A stream was discarded because of an error.

    Args:
        reason: the error message for the client.
        by_client: whether the audio or the hotwords of the client are invalid.
    """

    stream: int
    reason: str
    by_client: bool = False


@dataclass(frozen=True)
class Ping:
    """Request a Pong, which shows that the process is responsive; it waits for its turn as a stream does."""

    stream: int = -1


@dataclass(frozen=True)
class Pong:
    """The answer to a Ping."""


Request = OpenStream | SetHotwords | AudioPacket | FinishStream | CloseStream | Ping
Response = WorkerReady | StreamUpdate | StreamFailed | Pong


def pack(message: Request | Response) -> bytes:
    """Return the bytes of a message, size included."""
    content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return len(content).to_bytes(_SIZE_BYTES, "big") + content


async def read_response(reader: asyncio.StreamReader) -> Response | None:
    """Read the next message from a decoding process; return None if the process has ended."""
    try:
        size = int.from_bytes(await reader.readexactly(_SIZE_BYTES), "big")
        response: Response = pickle.loads(await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return response


class RequestSocket:
    """The end of the socket in the decoding process, with blocking calls."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def poll(self, timeout: float | None) -> bool:
        """Return whether a request arrives within `timeout` seconds (None: wait for one)."""
        return bool(wait([self._connection], timeout))

    def receive(self) -> Request:
        """Read the next request.

        Raises:
            EOFError: the server has closed the socket.
        """
        request: Request = pickle.loads(self._read(int.from_bytes(self._read(_SIZE_BYTES), "big")))
        return request

    def send(self, response: Response) -> None:
        """Send a response."""
        self._connection.sendall(pack(response))

    def _read(self, size: int) -> bytes:
        content = self._connection.recv(size, socket.MSG_WAITALL)
        if len(content) < size:
            raise EOFError
        return content

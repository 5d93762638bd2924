"""The first bytes of a connection choose its protocol, within a time limit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from augmem.serving.handshakes import FirstBytes, Handshakes


class Recorder(asyncio.Protocol):
    """Records what it receives."""

    def __init__(self) -> None:
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data


async def connect(http: bool, *pieces: bytes) -> tuple[bytes, bytes, bool]:
    """Send pieces; return what websockets and HTTP receive, and whether the connection is closed within 0.2 s."""
    websocket, post, handshakes = Recorder(), Recorder(), Handshakes()
    made: Any = websocket

    def accept() -> FirstBytes:
        return FirstBytes(handshakes, made, (lambda: post) if http else None)

    server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.01)
    try:
        is_closed = await asyncio.wait_for(reader.read(), 0.2) == b""
    except ConnectionResetError:
        is_closed = True
    except asyncio.TimeoutError:
        is_closed = False
    writer.transport.abort()
    server.close()
    return websocket.received, post.received, is_closed


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augmem.serving.handshakes.HANDSHAKE_TIMEOUT", 0.1)


@pytest.mark.parametrize("pieces", [(b"GET / HTTP/1.1\r\n",), (b"P", b"UT /"), (b"\x16\x03",), (b"POSTS /",)])
def test_all_but_post_is_left_to_websockets(pieces: tuple[bytes, ...]) -> None:
    websocket, post, is_closed = asyncio.run(connect(True, *pieces))
    assert (websocket, post, is_closed) == (b"".join(pieces), b"", False)


def test_post_that_arrives_in_pieces_is_http_and_is_closed_if_its_head_is_not_complete_in_time() -> None:
    websocket, post, is_closed = asyncio.run(connect(True, b"PO", b"ST", b" /v1", b"/audio"))
    assert (websocket, post, is_closed) == (b"", b"POST /v1/audio", True)


def test_connection_without_bytes_is_closed() -> None:
    assert asyncio.run(connect(True))[2] and asyncio.run(connect(False, b""))[2]


def test_without_http_websockets_refuse_post() -> None:
    assert asyncio.run(connect(False, b"POST /"))[:2] == (b"POST /", b"")


def test_complete_head_ends_the_time_limit() -> None:
    class Connection:
        transport: Any = object()

    handshakes, connection = Handshakes(), Connection()
    handshakes.add(connection)
    handshakes.complete(object())  # type: ignore[arg-type]
    assert connection in handshakes
    handshakes.complete(connection.transport)
    assert connection not in handshakes

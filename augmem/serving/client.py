"""A client of the server, for programs and for load tests."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

_FORMATS = {np.dtype("<i2"): "int16", np.dtype("<f4"): "float32"}


async def recognise(
    address: str,
    packets: Iterable[NDArray[Any]],
    rate: int,
    real_time: bool = False,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[dict[str, Any]]:
    """Send packets of samples, (n,) int16 or float32, and yield events as they come.

    Args:
        address: ws://host:port, with ?token=... where the server wants one.
        real_time: send as fast as somebody speaks, not as fast as the network carries.
        tls: what a wss:// server's certificate is checked with (the system's authorities).

    Raises:
        ValueError: the server refused the stream, and says why; or packets of another type.
        ConnectionError: the server went away before the last words.
    """
    try:
        connection = await connect(address, ssl=tls, ping_timeout=None)  # a pong waits behind our audio
    except InvalidStatus as refused:
        reason = (refused.response.body or b"").decode(errors="replace").strip()
        raise ValueError(f"the server answers {refused.response.status_code}: {reason}") from refused
    sender = asyncio.create_task(_send(connection, packets, rate, real_time))
    try:
        async for event in _events(connection, sender):
            yield event
    finally:
        sender.cancel()
        await connection.close()


async def _events(connection: ClientConnection, sender: asyncio.Task[None]) -> AsyncIterator[dict[str, Any]]:
    """What the server says until it is done; a fault of the sender's ends the conversation."""
    sender.add_done_callback(lambda task: _close_after_fault(task, connection))
    try:
        while True:
            event = json.loads(await connection.recv())
            if "error" in event:
                raise ValueError(event["error"])
            if "done" in event:
                return
            yield event
    except ConnectionClosed as closed:
        if sender.done() and not sender.cancelled() and (fault := sender.exception()):
            raise fault from None
        raise ConnectionError(f"the server went away before the last words ({closed})") from closed


def _close_after_fault(task: asyncio.Task[None], connection: ClientConnection) -> None:
    if not task.cancelled() and task.exception():
        connection.transport.abort()


async def _send(connection: ClientConnection, packets: Iterable[NDArray[Any]], rate: int, real_time: bool) -> None:
    kind = None
    clock, due = asyncio.get_running_loop().time(), 0.0
    try:
        for packet in packets:
            if packet.dtype not in _FORMATS or kind not in (None, _FORMATS[packet.dtype]):
                raise ValueError(f"a packet of {packet.dtype}: all must be int16, or all float32")
            if kind is None:
                kind = _FORMATS[packet.dtype]
                await connection.send(json.dumps({"sample_rate": rate, "format": kind}))
            due += len(packet) / rate
            if real_time:  # a packet can be sent once it has been spoken
                await asyncio.sleep(max(0.0, clock + due - asyncio.get_running_loop().time()))
            await connection.send(packet.tobytes())
        if kind is None:
            await connection.send(json.dumps({"sample_rate": rate}))
        await connection.send(json.dumps({"end": True}))
    except ConnectionClosed:
        pass  # the server says why, to whoever reads

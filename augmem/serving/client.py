"""A client of the server."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from augmem.errors import UserError

_FORMATS = {np.dtype("<i2"): "int16", np.dtype("<f4"): "float32"}


async def recognize(
    address: str,
    packets: Iterable[NDArray[Any]],
    sample_rate: int,
    real_time: bool = False,
    tls: ssl.SSLContext | None = None,
    hotwords: Sequence[str | tuple[str, float]] = (),
) -> AsyncIterator[dict[str, Any]]:
    """Send audio to a server and yield its events.

    Args:
        address: ws://host:port or wss://host:port, with ?token=... if the server requires one.
        packets: audio of one channel, each packet (n,) int16, or float32 in [-1, 1].
        sample_rate: Hz.
        real_time: send each packet when it would have been spoken; otherwise as fast as the server reads.
        tls: verifies the certificate of a wss:// server (default: by the system's authorities).
        hotwords: phrases, or pairs of phrase and bonus, that become more probable.

    Yields:
        partial and final results, as PROTOCOL.md describes them.

    Raises:
        UserError: the server refused the stream, or packets have another type.
        ConnectionError: the connection was lost before the last result.
    """
    try:
        connection = await connect(address, ssl=tls, ping_timeout=None)  # a pong waits behind unread audio
    except InvalidStatus as refused:
        reason = (refused.response.body or b"").decode(errors="replace").strip()
        raise UserError(f"{address}: status {refused.response.status_code}: {reason}") from refused
    sender = asyncio.create_task(_send(connection, packets, sample_rate, real_time, hotwords))
    try:
        async for event in _events(connection, sender):
            yield event
    finally:
        sender.cancel()
        await connection.close()


async def _events(connection: ClientConnection, sender: asyncio.Task[None]) -> AsyncIterator[dict[str, Any]]:
    """Yield events until the server is done; an error of the sender closes the connection and is raised here."""
    sender.add_done_callback(lambda task: _abort_after_error(task, connection))
    try:
        while True:
            event = json.loads(await connection.recv())
            if "error" in event:
                raise UserError(event["error"])
            if "done" in event:
                return
            yield event
    except ConnectionClosed as closed:
        if sender.done() and not sender.cancelled() and (error := sender.exception()):
            raise error from None
        raise ConnectionError(f"the connection was lost before the last result ({closed})") from closed


def _abort_after_error(task: asyncio.Task[None], connection: ClientConnection) -> None:
    if not task.cancelled() and task.exception():
        connection.transport.abort()


async def _send(
    connection: ClientConnection,
    packets: Iterable[NDArray[Any]],
    sample_rate: int,
    real_time: bool,
    hotwords: Sequence[str | tuple[str, float]],
) -> None:
    clock = asyncio.get_running_loop().time
    due, packets = clock(), iter(packets)
    first = next(packets, np.zeros(0, np.int16))
    try:
        opening = {"sample_rate": sample_rate, "format": _format(first)}
        await connection.send(json.dumps(opening | ({"hotwords": list(hotwords)} if hotwords else {})))
        for packet in chain([first], packets):
            if packet.dtype != first.dtype:
                raise UserError(f"packets of type {first.dtype} and {packet.dtype}: all must have one type")
            due += len(packet) / sample_rate
            if real_time:  # a packet exists once its last sample has been spoken
                await asyncio.sleep(max(0.0, due - clock()))
            await connection.send(packet.tobytes())
        await connection.send(json.dumps({"end": True}))
    except ConnectionClosed:
        pass  # the server sends the reason, which _events raises


def _format(packet: NDArray[Any]) -> str:
    if packet.dtype not in _FORMATS:
        raise UserError(f"packet of type {packet.dtype}: must be int16 or float32")
    return _FORMATS[packet.dtype]

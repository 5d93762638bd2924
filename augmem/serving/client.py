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
        ValueError: the server refused the stream; it says why.
    """
    async with connect(address, ssl=tls) as connection:
        sender = asyncio.create_task(_send(connection, packets, rate, real_time))
        try:
            async for message in connection:
                event = json.loads(message)
                if "error" in event:
                    raise ValueError(event["error"])
                if "done" in event:
                    break
                yield event
        finally:
            sender.cancel()


async def _send(connection: ClientConnection, packets: Iterable[NDArray[Any]], rate: int, real_time: bool) -> None:
    opened = False
    clock, due = asyncio.get_running_loop().time(), 0.0
    for packet in packets:
        if not opened:
            kind = "int16" if packet.dtype == np.int16 else "float32"
            await connection.send(json.dumps({"sample_rate": rate, "format": kind}))
            opened = True
        due += len(packet) / rate
        if real_time:  # a packet can be sent once it has been spoken
            await asyncio.sleep(max(0.0, clock + due - asyncio.get_running_loop().time()))
        await connection.send(packet.tobytes())
    if not opened:
        await connection.send(json.dumps({"sample_rate": rate}))
    await connection.send(json.dumps({"end": True}))

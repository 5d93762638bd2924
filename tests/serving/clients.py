"""A server in the event loop of a test, and its clients."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import connect

from augmem.serving import RecognitionServer, ServerConfig, recognize
from augmem.streaming import RecognizerOptions
from tests.tiny import RATE

OPTIONS = RecognizerOptions.one_segment()
HELLO = json.dumps({"sample_rate": RATE, "format": "float32"})


def run_server(package: Path, visit: Callable[[RecognitionServer, str], Awaitable[None]], **limits: Any) -> None:
    """Run `visit(server, address)` against a server on a free port, for three minutes at most."""

    async def main() -> None:
        recognition = RecognitionServer(package, ServerConfig(port=0, **limits), OPTIONS)
        server = await recognition.start()
        try:
            await visit(recognition, f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        finally:
            await recognition.stop(server, timeout=2.0)

    asyncio.run(asyncio.wait_for(main(), 180))


def packets(samples: np.ndarray, size: int = 1600) -> Iterator[np.ndarray]:
    return (samples[begin : begin + size] for begin in range(0, len(samples), size))


async def transcribe(address: str, samples: np.ndarray, hotwords: Sequence[tuple[str, float]] = ()) -> str:
    events = [event async for event in recognize(address, packets(samples), RATE, hotwords=hotwords)]
    return " ".join(event["text"] for event in events if event["kind"] == "final")


async def error_of(address: str, *messages: str | bytes) -> str:
    """Return the error that a client with these messages receives."""
    async with connect(address) as connection:
        for message in messages:
            await connection.send(message)
        async for answer in connection:
            if "error" in json.loads(answer):
                return str(json.loads(answer)["error"])
    return ""


def get(address: str, path: str) -> tuple[str, str]:
    """Return body and content type of an HTTP response."""
    with urllib.request.urlopen(address.replace("ws", "http", 1) + path, timeout=10) as answer:
        return answer.read().decode(), answer.headers["Content-Type"]


def pid_of_worker(server: RecognitionServer) -> int:
    process = server.workers[0].process
    assert process and process.pid
    return process.pid

"""Shutdown by signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from augmem.streaming import Recognizer
from tests.serving.clients import HELLO
from tests.serving.processes import serving
from tests.tiny import RATE, noise


def test_sigterm_lets_open_streams_finish(package: Path) -> None:
    """A signal to the process group of `augmem serve`, as systemd and a terminal send it, in the middle of speech.

    One client waits for results; another continues to send audio.
    """
    samples = noise(3.0, 1)
    events: list[dict[str, Any]] = []

    async def visit(server: subprocess.Popen[str], address: str) -> None:
        async with connect(address) as waiting, connect(address) as sending:
            for connection in (waiting, sending):
                await connection.send(HELLO)
                await connection.send(samples.tobytes())
            for connection in (waiting, sending):
                events.append(json.loads(await connection.recv()))
            del events[1:]
            os.killpg(server.pid, signal.SIGTERM)
            with suppress(ConnectionClosed):
                for _ in range(5):
                    await sending.send(noise(0.1).tobytes())
            for connection in (sending, waiting):
                rest = []
                with pytest.raises(ConnectionClosed) as closed:
                    while True:
                        rest.append(json.loads(await connection.recv()))
                assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
                assert rest[-1] == {"done": True} and rest[-2]["kind"] == "final"
            events.extend(rest)

    with serving(package) as (server, address):
        processes = psutil.Process(server.pid).children(recursive=True)
        assert processes
        asyncio.run(asyncio.wait_for(visit(server, address.replace("http", "ws")), 180))
        assert server.wait(20) == 0
        assert psutil.wait_procs(processes, 10)[1] == []
    words = [word for event in events if event.get("kind") == "final" for word in event["words"]]
    alone = [event.to_json() for event in Recognizer.load(package).transcribe([samples], RATE)]
    assert words == [word for event in alone for word in json.loads(event)["words"]] != []


def test_second_signal_ends_the_server_at_once(package: Path) -> None:
    """With a stream that cannot end, because its process is stopped, and a connection without a request."""

    async def visit(server: subprocess.Popen[str], address: str) -> None:
        async with connect(address) as connection:
            await connection.send(HELLO)
            await connection.send(noise(2.0, 1).tobytes())
            await connection.recv()
            (worker,) = [
                one for one in psutil.Process(server.pid).children() if "spawn_main" in " ".join(one.cmdline())
            ]
            worker.suspend()
            with socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1]))):
                os.kill(server.pid, signal.SIGTERM)
                await asyncio.sleep(0.5)
                assert server.poll() is None, "the first signal waits for the stream"
                os.kill(server.pid, signal.SIGTERM)
                assert await asyncio.to_thread(server.wait, 4) == 0

    with serving(package) as (server, address):
        asyncio.run(asyncio.wait_for(visit(server, address.replace("http", "ws")), 100))

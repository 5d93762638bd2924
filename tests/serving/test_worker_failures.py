"""Decoding processes that stop or die."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from augmem.serving import RecognitionServer
from augmem.serving.worker import MAX_SILENCE, PING_INTERVAL
from tests.serving.clients import HELLO, get, pid_of_worker, run_server, transcribe
from tests.tiny import noise


def test_stopped_worker_is_replaced_and_does_not_delay_streams_of_others(package: Path) -> None:
    """A stopped process reads nothing and its socket fills; the event loop must not wait for it."""
    assert MAX_SILENCE + PING_INTERVAL < 5

    async def visit(server: RecognitionServer, address: str) -> None:
        async with connect(address) as stuck:
            await stuck.send(HELLO)
            pid = pid_of_worker(server)
            os.kill(pid, signal.SIGSTOP)
            for _ in range(10):
                await stuck.send(noise(1.0).tobytes())
            assert await transcribe(address, noise(2.0, 1))
            answer = json.loads(await asyncio.wait_for(stuck.recv(), 10))
            while "error" not in answer:  # results that were sent before the stop
                answer = json.loads(await asyncio.wait_for(stuck.recv(), 10))
            assert "the decoding process died" in answer["error"]
            with pytest.raises(urllib.error.HTTPError, match="503"):
                await asyncio.to_thread(get, address, "/health")
            assert pid_of_worker(server) != pid

    run_server(package, visit, workers=2)


def test_killed_worker_is_replaced(package: Path) -> None:
    async def visit(server: RecognitionServer, address: str) -> None:
        async with connect(address) as connection:
            await connection.send(HELLO)
            await connection.send(noise(1.0).tobytes())
            pid = pid_of_worker(server)
            await asyncio.sleep(0.3)
            os.kill(pid, signal.SIGKILL)
            received = []
            with pytest.raises(ConnectionClosed):
                while True:
                    received.append(json.loads(await connection.recv()))
            assert "the decoding process died" in received[-1]["error"]
        with pytest.raises(urllib.error.HTTPError, match="503") as refused:  # for load balancers
            await asyncio.to_thread(get, address, "/health")
        assert json.loads(refused.value.read())["status"] == "starting"
        assert await transcribe(address, noise(1.0, 1))
        assert json.loads((await asyncio.to_thread(get, address, "/health"))[0])["status"] == "ok"
        assert "augmem_worker_restarts_total 1.0" in (await asyncio.to_thread(get, address, "/metrics"))[0]

    run_server(package, visit)


def test_worker_that_dies_during_shutdown_is_not_replaced(package: Path) -> None:
    async def visit(server: RecognitionServer, address: str) -> None:
        async with connect(address) as connection:
            await connection.send(HELLO)
            while not server.streams:
                await asyncio.sleep(0.05)
            server.is_stopping = True
            os.kill(pid_of_worker(server), signal.SIGKILL)
            assert "the decoding process died" in json.loads(await connection.recv())["error"]
        assert server.workers[0].is_closed

    run_server(package, visit)

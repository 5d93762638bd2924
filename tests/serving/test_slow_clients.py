"""Clients that do not read, send or complete a handshake."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from augmem.serving import RecognitionServer, ServerConfig
from augmem.serving.handshakes import MAX_HANDSHAKES
from tests.serving.clients import HELLO, OPTIONS, get, run_server, transcribe
from tests.tiny import noise


def test_client_that_reads_no_results_is_closed_after_the_idle_timeout(package: Path) -> None:
    """Even after it has ended its audio, when no message is expected from it."""

    async def visit(server: RecognitionServer, address: str) -> None:
        async with connect(address) as connection:
            await connection.send(HELLO)
            while not server.streams:
                await asyncio.sleep(0.05)
            (stream,) = server.streams.values()

            async def full(_: str) -> None:
                await asyncio.Event().wait()

            stream.connection.send = full  # type: ignore[method-assign, assignment]  # like a full socket
            await connection.send(noise(2.0, 1).tobytes())
            await connection.send(json.dumps({"end": True}))
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(connection.recv(), 30)
        for _ in range(100):
            if not server.streams:
                break
            await asyncio.sleep(0.05)
        assert not server.streams

    run_server(package, visit, idle=1.0)


def test_idle_and_incomplete_connections_do_not_lock_others_out(
    package: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("augmem.serving.server.EVICTION_TIME", 0.3)

    async def visit(server: RecognitionServer, address: str) -> None:
        port = int(address.rsplit(":", 1)[1])
        incomplete = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_HANDSHAKES + 20)]
        async with connect(address) as first, connect(address) as second:
            for idle in (first, second):
                await idle.send(HELLO)
            await asyncio.sleep(0.6)
            assert await transcribe(address, noise(1.0, 1))
            assert "idle while the server is full" in json.loads(await first.recv())["error"]
        for _, writer in incomplete:
            writer.close()
        await asyncio.sleep(0.2)

    with caplog.at_level("INFO"):
        run_server(package, visit, max_streams=2)
    assert "idle while the server is full" in caplog.text, "a line for each refused stream"
    assert "handshake" not in caplog.text and "Traceback" not in caplog.text


def test_audio_is_read_no_faster_than_it_is_decoded(package: Path) -> None:
    """Audio that waits for decoding is bounded for any client."""
    samples = np.tile(noise(4.0, 1), 5)

    async def visit(server: RecognitionServer, address: str) -> None:
        most = 0.0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max([most, *(stream.pending for stream in server.streams.values())])
                await asyncio.sleep(0.01)

        watcher = asyncio.create_task(watch())
        assert await transcribe(address, samples)
        watcher.cancel()
        assert 1.9 < most <= 2.0 + 0.2

    run_server(package, visit, max_buffered=2.0)


def test_client_that_sends_but_does_not_read_is_closed_and_others_continue(package: Path) -> None:
    """With small socket buffers, which a few results fill."""

    async def main() -> None:
        recognition = RecognitionServer(package, ServerConfig(port=0, max_unread=3), OPTIONS)
        server = await recognition.start()
        server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        address = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(server.sockets[0].getsockname()[:2])
        async with connect(address, sock=deaf, max_queue=1) as connection:
            await connection.send(HELLO)
            with pytest.raises(ConnectionClosed):
                while True:  # sends without end and reads nothing
                    await connection.send(noise(1.0, 1).tobytes())
        assert await transcribe(address, noise(1.0, 1))
        assert 'augmem_refused_total{reason="stream"} 1.0' in (await asyncio.to_thread(get, address, "/metrics"))[0]
        await recognition.stop(server)

    asyncio.run(asyncio.wait_for(main(), 180))

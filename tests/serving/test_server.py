"""A server with its workers and clients over loopback: results, refusals, faulty clients, a killed worker."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from augmem.errors import UserError
from augmem.serving import RecognitionServer, ServerConfig, recognize
from augmem.streaming import HotwordLine, Recognizer
from tests.serving.clients import HELLO, OPTIONS, error_of, get, packets, run_server, transcribe
from tests.tiny import RATE, noise


def test_concurrent_clients_get_the_results_of_a_single_stream(package: Path) -> None:
    audio = [noise(1.0 + 0.7 * seed, seed) for seed in range(5)]
    recognizer = Recognizer.load(package, OPTIONS)
    alone = [" ".join(e.text for e in recognizer.transcribe([samples], RATE)) for samples in audio]
    assert all(alone)
    stream = recognizer.stream([HotwordLine("", "one", -20.0)])
    stream.accept_waveform(audio[0], RATE)
    recognizer.finish([stream])
    unlike = stream.events()[-1].text
    assert unlike != alone[0]

    async def visit(server: RecognitionServer, address: str) -> None:
        boosted = transcribe(address, audio[0], [("one", -20.0)])
        assert await asyncio.gather(*(transcribe(address, samples) for samples in audio), boosted) == [*alone, unlike]
        body, kind = await asyncio.to_thread(get, address, "/metrics")
        assert f"augmem_streams_served_total {len(audio) + 1}.0" in body and kind.startswith("text/plain")
        (decoded,) = [line.split()[1] for line in body.splitlines() if line.startswith("augmem_audio_seconds_total ")]
        assert float(decoded) == pytest.approx(sum(map(len, [*audio, audio[0]])) / RATE)
        body, kind = await asyncio.to_thread(get, address, "/health")
        assert json.loads(body) == {"status": "ok", "streams": 0} and kind == "application/json"
        body, kind = await asyncio.to_thread(get, address, "/")
        assert "<title>augmem" in body and kind.startswith("text/html")
        for name in re.findall('(?:src|href)="([^"]+[.](?:js|css))"', body):
            assert (await asyncio.to_thread(get, address, f"/{name}"))[1].startswith(("text/javascript", "text/css"))

    run_server(package, visit, workers=2)


def test_invalid_clients_get_an_error_and_others_continue(package: Path) -> None:
    samples = noise(2.0, 1)

    async def visit(server: RecognitionServer, address: str) -> None:
        good = asyncio.create_task(transcribe(address, samples))
        assert "first message must be text" in await error_of(address, b"\0\0")
        assert "first message must be text" in await error_of(address, "{")
        assert "sample_rate 12: must be" in await error_of(address, '{"sample_rate": 12}')
        assert "format 'mp3': must be" in await error_of(address, '{"sample_rate": 8000, "format": "mp3"}')
        assert "format ['int16']: must be" in await error_of(address, '{"sample_rate": 8000, "format": ["int16"]}')
        assert "first message must be text" in await error_of(address, "[" * 60000)  # deeper than the parser goes
        assert "must be a list such as" in await error_of(address, '{"sample_rate": 8000, "hotwords": "ONE"}')
        assert "neither a phrase nor" in await error_of(address, '{"sample_rate": 8000, "hotwords": [["ONE", true]]}')
        assert "not in the vocabulary" in await error_of(address, '{"sample_rate": 8000, "hotwords": ["THREE"]}')
        assert "3 bytes are not a whole number of float32 samples" in await error_of(address, HELLO, b"abc")
        assert 'expected audio or {"end": true}' in await error_of(address, HELLO, "what")
        assert "not finite" in await error_of(address, HELLO, np.full(1600, np.nan, np.float32).tobytes())
        assert "must be in [-1, 1]" in await error_of(address, HELLO, np.full(1600, 3e38, np.float32).tobytes())
        assert "idle timeout: no message for 1 s" in await error_of(address, HELLO)
        with pytest.raises(ConnectionClosed) as closed:
            async with connect(address) as connection:
                await connection.send(HELLO)
                await connection.send(bytes(70000))
                await connection.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
        async with connect(address) as connection:  # a client that disconnects during a word
            await connection.send(HELLO)
            await connection.send(samples[:8000].tobytes())
            connection.transport.abort()
        assert await good
        for _ in range(100):
            if not server.streams:
                break
            await asyncio.sleep(0.05)
        assert not server.streams

    run_server(package, visit, idle=1.0, max_message=65536)


def test_reason_of_a_refusal_fits_a_close_frame_in_any_script(package: Path) -> None:
    """A close frame has room for 123 bytes, which may be fewer characters."""

    async def visit(server: RecognitionServer, address: str) -> None:
        async with connect(address) as connection:
            await connection.send(HELLO)
            await connection.send("ö" * 200)
            assert "ö" in json.loads(await connection.recv())["error"]
            with pytest.raises(ConnectionClosed) as closed:
                await connection.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
        assert closed.value.rcvd.reason.startswith("expected audio")

    run_server(package, visit)


def test_invalid_frames_close_only_their_own_connection(package: Path) -> None:
    """Bytes that are not a websocket frame, after a valid handshake, close the connection with code 1002 or 1007."""
    handshake = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    handshake += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

    async def visit(server: RecognitionServer, address: str) -> None:
        good = asyncio.create_task(transcribe(address, noise(2.0, 1)))
        for broken in (b"\xff" * 20, b"\x82\x01x", b"\x81\x82\0\0\0\0\xff\xff"):  # opcode, no mask, no UTF-8
            reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rsplit(":", 1)[1]))
            writer.write(handshake)
            assert b"101" in await reader.readuntil(b"\r\n\r\n")
            writer.write(broken)
            answer = await asyncio.wait_for(reader.read(), 10)  # until the server closes the connection
            assert answer[:1] == b"\x88" and int.from_bytes(answer[2:4], "big") in (1002, 1007)
            writer.close()
        assert await good

    run_server(package, visit)


def test_packets_of_single_samples_give_the_same_result(package: Path) -> None:
    samples = noise(1.5, 1)

    async def visit(server: RecognitionServer, address: str) -> None:
        whole = await transcribe(address, samples)
        events = [event async for event in recognize(address, packets(samples, 1), RATE)]
        assert " ".join(event["text"] for event in events if event["kind"] == "final") == whole != ""

    run_server(package, visit)


def test_client_raises_errors_of_server_and_packets(package: Path) -> None:
    async def visit(server: RecognitionServer, address: str) -> None:
        with pytest.raises(UserError, match="status 401: wrong or missing token"):
            await transcribe(address, noise(0.5))
        with pytest.raises(UserError, match="packet of type float64"):
            await transcribe(f"{address}/?token=secret", np.zeros(1600))

        def broken() -> Iterator[np.ndarray]:
            yield noise(0.1)
            raise RuntimeError("the microphone failed")

        with pytest.raises(RuntimeError, match="microphone failed"):
            _ = [event async for event in recognize(f"{address}/?token=secret", broken(), RATE)]

    run_server(package, visit, token="secret")


def test_page_of_another_site_opens_no_stream(package: Path) -> None:
    """As a browser sends it: with its Origin, and after DNS rebinding with its name as Host."""

    async def visit(server: RecognitionServer, address: str) -> None:
        for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}):
            with pytest.raises(InvalidStatus, match="403"):
                await connect(address, additional_headers=headers)
        own = address.replace("ws", "http", 1)
        for origin in (own, "https://asr.example.org"):
            await (await connect(address, additional_headers={"Origin": origin})).close()
        request = urllib.request.Request(own, headers={"Host": "evil.example:8765"})
        with pytest.raises(urllib.error.HTTPError, match="403") as refused:
            await asyncio.to_thread(urllib.request.urlopen, request, timeout=10)
        assert b"Host 'evil.example:8765': not a name of this server" in refused.value.read()
        page = await asyncio.to_thread(urllib.request.urlopen, own, timeout=10)
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert page.headers["X-Content-Type-Options"] == "nosniff" and page.headers["X-Frame-Options"] == "DENY"

    run_server(package, visit, allow_origin=("https://asr.example.org",))


def test_full_server_and_wrong_token_refuse_the_handshake(package: Path) -> None:
    async def visit(server: RecognitionServer, address: str) -> None:
        with pytest.raises(InvalidStatus) as refused:
            await error_of(address)
        assert refused.value.response.status_code == 401
        async with connect(f"{address}/?token=secret") as first:
            await first.send(HELLO)
            with pytest.raises(InvalidStatus) as refused:
                await error_of(f"{address}/?token=secret")
            assert refused.value.response.status_code == 503
        for _ in range(100):
            if not server.streams:
                break
            await asyncio.sleep(0.05)
        assert await transcribe(f"{address}/?token=secret", noise(1.0, 1))

    run_server(package, visit, token="secret", max_streams=1)


def test_tls_connection_and_invalid_certificate(package: Path, tmp_path: Path) -> None:
    certificate, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    trusting = ssl.create_default_context(cafile=certificate)

    async def visit(server: RecognitionServer, address: str) -> None:
        secure = address.replace("ws://", "wss://")
        events = [event async for event in recognize(secure, packets(noise(1.0, 1)), RATE, tls=trusting)]
        assert events[-1]["kind"] == "final" and events[-1]["text"]
        with pytest.raises(ssl.SSLCertVerificationError):
            await error_of(secure)

    run_server(package, visit, certificate=certificate, key=key)
    with pytest.raises(UserError, match="not a certificate and its key"):
        run_server(package, visit, certificate=certificate, key=certificate)


def test_buffer_shorter_than_a_chunk_is_refused(package: Path) -> None:
    """The chunk would never be complete: the server would wait for decoding before it reads on."""

    async def visit(server: RecognitionServer, address: str) -> None:
        raise AssertionError("the server has started")

    with pytest.raises(UserError, match=r"server\.max_buffered is 0.1 s; the model decodes chunks of 0.32 s"):
        run_server(package, visit, max_buffered=0.1)


def test_unavailable_address_leaves_no_process(package: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        recognition = RecognitionServer(package, ServerConfig(port=port), OPTIONS)
        with pytest.raises(OSError, match="address already in use"):
            asyncio.run(recognition.start())
    assert not any(worker.process and worker.process.is_alive() for worker in recognition.workers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"port": 70000}, "port is 70000"),
        ({"workers": 0}, "workers is 0"),
        ({"key": "a.pem"}, "given with certificate"),
        ({"token": ""}, "token is ''"),
        (
            {"allow_origin": ("asr.example.org",)},
            r"allow_origin is \('asr.example.org',\); it must have the form https",
        ),
    ],
)
def test_invalid_limits_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ServerConfig(**change)

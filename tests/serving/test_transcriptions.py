"""Transcription of files by POST, with the client of the package openai where it is installed, and by hand."""

from __future__ import annotations

import asyncio
import io
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install augmem[serve]")

from augmem.serving import RecognitionServer
from augmem.streaming import Recognizer
from tests.serving.clients import OPTIONS, run_server, transcribe
from tests.tiny import RATE, noise

SAMPLES = noise(2.9, 3)
BOUNDARY = "x-x-x"


def flac(samples: np.ndarray = SAMPLES, kind: str = "FLAC", subtype: str | None = None) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, RATE, format=kind, subtype=subtype)
    return content.getvalue()


def form(file: bytes | None = None, **fields: str) -> bytes:
    """Return the body of a form."""
    names = [f'name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
    files = [b'name="file"; filename="a.flac"\r\n\r\n' + file] if file is not None else []
    parts = (f"--{BOUNDARY}\r\nContent-Disposition: form-data; ".encode() + part + b"\r\n" for part in files + names)
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def post(address: str, body: bytes, path: str = "/v1/audio/transcriptions", **headers: str) -> tuple[int, str, str]:
    """Return status, body and content type of the response."""
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    request = urllib.request.Request(address.replace("ws", "http", 1) + path, body, kind | headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode(), answer.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["error"]["message"], error.headers["Content-Type"]


def test_formats_and_refusals(package: Path) -> None:
    (final,) = Recognizer.load(package, OPTIONS).transcribe([SAMPLES], RATE)

    async def visit(server: RecognitionServer, address: str) -> None:
        async def send(body: bytes, **options: Any) -> tuple[int, str, str]:
            return await asyncio.to_thread(post, address, body, **options)

        live = asyncio.create_task(transcribe(address, SAMPLES))
        status, text, kind = await send(form(flac(), model="any", temperature="0"))
        assert status == 200 and json.loads(text) == {"text": final.text} and kind.startswith("application/json")
        assert await live == final.text, "a websocket at the same time"
        status, text, kind = await send(form(flac(), response_format="text"))
        assert text == f"{final.text}\n" and kind.startswith("text/plain")
        _, text, _ = await send(form(flac(), response_format="srt"))
        assert text.startswith("1\n00:00:0") and f"\n{final.text}\n" in text
        assert (await send(form(flac(), response_format="vtt")))[1].startswith("WEBVTT\n\n00:")
        verbose = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
        found = json.loads((await send(form(flac(), **verbose)))[1])
        assert found["duration"] == pytest.approx(len(SAMPLES) / RATE, abs=1e-3) and "segments" not in found
        assert [(w["word"], w["start"], w["end"]) for w in found["words"]] == [
            (word.text, word.start, word.end) for word in final.words
        ]
        for body, status, message in (
            (form(), 400, "field file is missing"),
            (form(flac(), response_format="xml"), 400, "response_format 'xml': must be one of json"),
            (form(flac(), stream="true"), 400, "stream: results are sent at once"),
            (form(b"no audio"), 400, "file: cannot be read as audio"),
            (form(flac(np.full(9000, np.nan, np.float32), "WAV", "FLOAT")), 400, "not finite"),
            (form(b"x" * 100_000), 413, "the file is larger than 100000 bytes"),
            (form(flac(np.zeros(6 * RATE, np.float32))), 413, "the audio is longer than 5 s"),
            (b"no form", 400, "not a valid form"),
        ):
            answer = await send(body)
            assert answer[0] == status and message in answer[1], (message, answer)
        assert (await send(b"{}", **{"Content-Type": "application/json"}))[0] == 415
        assert (await send(form(flac()), path="/v1/models"))[0] == 404
        assert (await send(form(flac()), Origin="https://example.org"))[0] == 403
        assert (await send(form(flac()), Host="example.org"))[0] == 403
        assert not server.streams

    run_server(package, visit, max_file=100_000, max_file_duration=5.0)


def test_token_and_number_of_streams_are_limits_of_files_too(package: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def visit(server: RecognitionServer, address: str) -> None:
        status, message, _ = await asyncio.to_thread(post, address, form(flac()))
        assert status == 401 and message == "wrong or missing token"
        bearer = {"Authorization": "Bearer secret"}
        head = "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nContent-Type: "
        head += f"multipart/form-data; boundary={BOUNDARY}\r\nAuthorization: Bearer secret\r\n\r\n--{BOUNDARY}\r\n"
        reader, broken = await asyncio.open_connection("127.0.0.1", int(address.rsplit(":", 1)[1]))
        broken.write(b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n")
        assert b"400 Bad Request" in await reader.readline()
        broken.close()
        _, slow = await asyncio.open_connection("127.0.0.1", int(address.rsplit(":", 1)[1]))
        slow.write(head.encode())
        while not server.streams:
            await asyncio.sleep(0.05)
        status, message, _ = await asyncio.to_thread(post, address, form(flac()), **bearer)
        assert status == 503 and "full" in message
        slow.transport.abort()
        while server.streams:
            await asyncio.sleep(0.05)
        assert (await asyncio.to_thread(post, address, form(flac()), **bearer))[0] == 200

    run_server(package, visit, token="secret", max_streams=1)
    assert "not valid HTTP" in caplog.text and "Traceback" not in caplog.text


def test_client_of_openai(package: Path) -> None:
    openai = pytest.importorskip("openai", reason="the package openai is not installed")
    (final,) = Recognizer.load(package, OPTIONS).transcribe([SAMPLES], RATE)

    async def visit(server: RecognitionServer, address: str) -> None:
        client = openai.AsyncOpenAI(base_url=address.replace("ws", "http", 1) + "/v1", api_key="secret")
        create = client.audio.transcriptions.create
        found = await create(file=("a.flac", flac()), model="any", response_format="verbose_json")
        assert found.text == final.text and found.segments[0].end == final.words[-1].end
        with pytest.raises(openai.BadRequestError, match="cannot be read as audio"):
            await create(file=("a.flac", b"no audio"), model="any")
        await client.close()

    run_server(package, visit, token="secret")

"""The page in a real browser: a fake microphone fed with audio, and a file chosen from disk."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import soundfile
from websockets.asyncio.client import ClientConnection, connect

from augmem.serving import RecognitionServer, ServerConfig
from augmem.streaming import Recognizer, RecognizerOptions
from tests.tiny import RATE, make_package, noise

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = RecognizerOptions(rules=(), max_segment=float("inf"))
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt-get install chromium")


@contextmanager
def browser(folder: Path, microphone: Path) -> Iterator[int]:
    """A headless browser that hears `microphone`; gives the port of its DevTools."""
    assert BROWSER is not None
    command = [
        BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--mute-audio",
        f"--user-data-dir={folder}", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}", "--window-size=900,700", "about:blank",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield asyncio.run(devtools_port(folder))
    finally:
        process.terminate()
        process.wait(20)


async def devtools_port(folder: Path) -> int:
    for _ in range(300):
        port = folder / "DevToolsActivePort"
        if port.exists() and (lines := port.read_text().splitlines()):
            return int(lines[0])
        await asyncio.sleep(0.1)
    raise TimeoutError("the browser does not answer")


class Tab:
    """The browser's page, by the DevTools protocol."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection, self.number = connection, 0

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        await self.connection.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while (answer := json.loads(await self.connection.recv())).get("id") != self.number:
            pass
        return dict(answer["result"])

    async def run(self, script: str) -> Any:
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return answer["result"].get("value")

    async def until(self, script: str, seconds: float = 30) -> Any:
        for _ in range(int(seconds * 10)):
            if value := await self.run(script):
                return value
            await asyncio.sleep(0.1)
        raise TimeoutError(f"never true: {script}; the page says {await self.run('document.body.innerText')!r}")


def test_speech_becomes_words_on_the_page(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    package = make_package(tmp_path / "model")
    samples, audio = noise(5.0, 1), tmp_path / "speech.wav"
    soundfile.write(audio, samples, RATE)
    heard = Recognizer.load(package, OPTIONS).transcribe([soundfile.read(audio, dtype="float32")[0]], RATE)
    expected = " ".join(event.text for event in heard).lower()

    async def visit(port: int) -> None:
        recognition = RecognitionServer(package, ServerConfig(port=0), OPTIONS)
        server = await recognition.start()
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        tabs = await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{port}/json")
        target = next(tab for tab in json.loads(tabs.read()) if tab["type"] == "page")
        async with connect(target["webSocketDebuggerUrl"], max_size=None) as connection:
            tab = Tab(connection)
            await tab.call("Page.navigate", url=address)
            await tab.until("document.readyState === 'complete' && !!document.getElementById('record')")

            await tab.run("document.getElementById('record').click()")
            await tab.until("document.querySelectorAll('#heard .partial').length > 0")
            assert float((await tab.run("document.getElementById('behind').textContent")).split()[0]) >= 0
            await tab.run("document.getElementById('record').click()")
            await tab.until("document.getElementById('heard').dataset.done === 'yes'")
            assert await tab.run("document.querySelectorAll('#heard span').length") > 0
            assert await tab.run("document.getElementById('fault').textContent") == ""

            await tab.run("delete document.getElementById('heard').dataset.done")
            document = await tab.call("DOM.getDocument")
            node = await tab.call("DOM.querySelector", nodeId=document["root"]["nodeId"], selector="#file")
            await tab.call("DOM.setFileInputFiles", nodeId=node["nodeId"], files=[str(audio)])
            await tab.until("document.getElementById('heard').dataset.done === 'yes'")
            assert (await tab.run("document.getElementById('heard').textContent")).strip() == expected
            opacity = await tab.run("document.querySelector('#heard span').style.opacity")
            assert 0.35 <= float(opacity) <= 1
            if place := os.environ.get("AUGMEM_SCREENSHOT"):
                shot = await tab.call("Page.captureScreenshot")
                Path(place).write_bytes(base64.b64decode(shot["data"]))
        await recognition.stop(server)

    (tmp_path / "browser").mkdir()
    with browser(tmp_path / "browser", audio) as port:
        asyncio.run(asyncio.wait_for(visit(port), 120))

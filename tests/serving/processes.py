"""`augmem serve` and a browser as subprocesses."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def serving(
    package: Path, *options: str, variables: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start `augmem serve` in its own process group; yield the process and its address, http://host:port.

    Args:
        package: a packaged model.
        options: options of the command.
        variables: variables of the environment, besides those of this process.
    """
    environment = {**os.environ, **(variables or {})}
    command = [sys.executable, "-m", "augmem.cli", "serve", "--package", str(package), "--port", "0", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            first = next((line for line in process.stdout if line.startswith("listening on ")), "")
            yield process, first.removeprefix("listening on ").strip()
        finally:
            process.terminate()
            process.wait(30)


class Tab:
    """A page of the browser, controlled by the DevTools protocol."""

    def __init__(self, connection: ClientConnection, downloads: Path) -> None:
        self.connection, self.downloads, self.number = connection, downloads, 0

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        await self.connection.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while (response := json.loads(await self.connection.recv())).get("id") != self.number:
            pass
        if "error" in response:
            raise ValueError(f"{method}: {response['error']}")
        return dict(response["result"])

    async def run(self, script: str) -> Any:
        response = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return response["result"].get("value")

    async def until(self, script: str, seconds: float = 60) -> Any:
        for _ in range(int(seconds * 10)):
            if value := await self.run(script):
                return value
            await asyncio.sleep(0.1)
        raise TimeoutError(f"never true: {script}; text of the page: {await self.run('document.body.innerText')!r}")

    async def text(self, name: str) -> str:
        """Return the text of the element with this id."""
        return str(await self.run(f"document.getElementById('{name}').textContent")).strip()

    async def choose(self, file: Path) -> None:
        """Choose a file in the page's #file."""
        document = await self.call("DOM.getDocument")
        node = await self.call("DOM.querySelector", nodeId=document["root"]["nodeId"], selector="#file")
        await self.call("DOM.setFileInputFiles", nodeId=node["nodeId"], files=[str(file)])

    async def drop(self, file: Path) -> None:
        """Drop a file on the page's #drop."""
        script = "(({x, y}) => [x + 9, y + 9])(document.getElementById('drop').getBoundingClientRect())"
        x, y = await self.run(script)
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            await self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    async def press(self, key: str) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, text=key)

    async def downloaded(self, number: int = 2) -> dict[str, str]:
        """Wait for a number of downloads; return names and contents."""
        for _ in range(300):
            files = [file for file in self.downloads.glob("*") if not file.suffix.endswith("download")]
            if len(files) == number:
                return {file.name: file.read_text() for file in files}
            await asyncio.sleep(0.1)
        raise TimeoutError(f"{number} downloads expected in {list(self.downloads.glob('*'))}")

    async def take_screenshot(self, path: Path) -> None:
        shot = await self.call("Page.captureScreenshot")
        path.write_bytes(base64.b64decode(shot["data"]))


@asynccontextmanager
async def browsing(folder: Path, microphone: Path, address: str) -> AsyncIterator[Tab]:
    """Open `address` in a headless browser whose microphone plays a file repeatedly."""
    assert BROWSER is not None
    folder.mkdir()
    command = [
        BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--mute-audio",
        f"--user-data-dir={folder}", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}", "--window-size=900,700", "about:blank",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        tabs = await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{await _port(folder)}/json")
        target = next(tab for tab in json.loads(tabs.read()) if tab["type"] == "page")
        async with connect(target["webSocketDebuggerUrl"], max_size=None) as connection:
            tab = Tab(connection, folder / "downloads")
            await tab.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tab.downloads))
            await tab.call("Page.navigate", url=address)
            await tab.until("document.readyState === 'complete' && !!document.getElementById('record')")
            yield tab
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 20)


async def _port(folder: Path) -> int:
    """Return the port of the browser's DevTools."""
    for _ in range(300):
        port = folder / "DevToolsActivePort"
        if port.exists() and (lines := port.read_text().splitlines()):
            return int(lines[0])
        await asyncio.sleep(0.1)
    raise TimeoutError("the browser did not start")

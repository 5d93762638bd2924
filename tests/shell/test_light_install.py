"""The wheel alone, in empty environments of two Pythons: it transcribes without torch and k2."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path

import pytest

from augmem.audio import AudioFile
from augmem.onnx_engine import OnnxRecognizer
from tests.shell.experiments import ROOT
from tests.shell.test_wheel import WITHOUT, wheel  # noqa: F401 - a fixture

UV = Path(sys.executable).with_name("uv")
OTHERS = ("3.12", "3.13", "3.10")


def candidates() -> Iterator[str]:
    """Yield other Pythons of this machine: of $PATH, then of pyenv."""
    for version in OTHERS:
        yield from filter(None, [shutil.which(f"python{version}")])
        yield from map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))


def starts(python: str) -> bool:
    return subprocess.run([python, "-c", "import venv"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module", params=["this", "other"])
def python(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """Install the wheel with its dependencies, from the package index, into an empty environment."""
    base = sys.executable if request.param == "this" else next(filter(starts, candidates()), None)
    if base is None:
        pytest.skip(f"no other Python: {', '.join(OTHERS)}")
    if not UV.is_file():
        pytest.skip("no uv")
    folder = tmp_path_factory.mktemp("light")
    subprocess.run([UV, "venv", "--quiet", "--no-project", "--python", base, folder], check=True)
    found = folder / "bin" / "python"
    command = [UV, "pip", "install", "--quiet", "--python", found, wheel]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Failed to fetch" in done.stderr or "error sending request" in done.stderr:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr
    return found


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speech") / "speech.opus"
    with tarfile.open(ROOT / "corpora" / "mini_librispeech" / "dev-held.tar") as tar:
        (first, *_) = (member for member in tar if member.name.endswith(".opus"))
        path.write_bytes(tar.extractfile(first).read())  # type: ignore[union-attr]
    return path


def variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in WITHOUT}


def run(python: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [str(python), *map(str, words)]
    return subprocess.run(command, cwd=python.parent, env=variables(), capture_output=True, text=True, timeout=300)


def test_speech_is_transcribed_without_a_package(python: Path, speech: Path) -> None:
    done = run(python, "-m", "augmem.cli", "transcribe", "--format", "json", speech)
    assert done.returncode == 0, done.stderr
    found = " ".join(json.loads(line)["text"] for line in done.stdout.splitlines()).split()
    with AudioFile(speech) as audio:
        events = OnnxRecognizer().transcribe([block[:, 0] for block in audio.blocks(1600)], audio.rate)
    expected = " ".join(event.text for event in events).split()  # of another onnxruntime, so not always equal
    assert len(found) > 20 and SequenceMatcher(None, found, expected).ratio() > 0.9


@pytest.mark.parametrize("python", ["this"], indirect=True)
def test_the_server_starts_without_a_package_and_without_torch(python: Path) -> None:
    assert "No module named 'torch'" in run(python, "-c", "import torch").stderr
    command = [python, "-m", "augmem.cli", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=python.parent, env=variables()) as server:
        try:
            assert server.stdout is not None
            address = next(line for line in server.stdout if line.startswith("listening on ")).split()[-1]
            with urllib.request.urlopen(f"{address}/health") as answer:
                assert json.load(answer)["status"] == "ok"
        finally:
            server.terminate()
    assert server.returncode == 0

"""`augmem transcribe` from outside: every kind of file, standard input, and what it says of what is no audio."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.tiny import RATE, make_package, noise

KINDS = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS", "opus": "OPUS", "mp3": "MPEG_LAYER_III"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same noise as a file of every kind, in two channels at 48 kHz."""
    folder, samples = tmp_path_factory.mktemp("speech"), np.repeat(noise(3.0, 1), 48000 // RATE)
    files = {kind: folder / f"talk.{kind}" for kind in KINDS}
    for kind, path in files.items():
        container = {"opus": "OGG"}.get(kind, kind.upper())
        soundfile.write(path, np.stack([samples, samples], 1), 48000, subtype=KINDS[kind], format=container)
    return files


def transcribe(package: Path, *arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "augmem.cli", "transcribe", "--package", str(package), *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True)


def test_every_kind_of_file_and_standard_input(package: Path, speech: dict[str, Path]) -> None:
    result = transcribe(package, *speech.values(), "-", stdin=speech["wav"].read_bytes())
    assert result.returncode == 0, result.stderr.decode()
    heard = dict(line.split("\t") for line in result.stdout.decode().splitlines())
    assert set(heard) == {*map(str, speech.values()), "-"}
    assert heard[str(speech["wav"])] == heard[str(speech["flac"])] == heard["-"]
    lengths = [len(text.split()) for text in heard.values()]
    assert min(lengths) > max(lengths) / 2, "a lossy file sounds much like the others"


def test_what_is_no_audio_is_named(package: Path, tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_text("hello")
    for arguments, message in {
        (tmp_path / "talk.wav",): "talk.wav: not audio that can be read",
        (tmp_path / "none.wav",): "none.wav: no such file",
        (): "name audio files, or --microphone",
    }.items():
        result = transcribe(package, *arguments)
        assert result.returncode == 1 and message in result.stderr.decode()
    silent = io.BytesIO()
    soundfile.write(silent, np.zeros(0), RATE, format="WAV")
    assert transcribe(package, "-", stdin=silent.getvalue()).stdout == b""

"""`augmem transcribe` from outside: every kind of file, standard input, and what it says of what is no audio."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
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


def test_standard_input_is_compared_with_offline_decoding(package: Path, speech: dict[str, Path]) -> None:
    result = transcribe(package, "--compare-offline", "-", stdin=speech["flac"].read_bytes())
    assert result.returncode == 0 and b"-: streaming and offline agree" in result.stderr and result.stdout.strip()


def test_a_terminal_shows_words_as_they_come(package: Path, speech: dict[str, Path]) -> None:
    """On a pseudo-terminal of 40 columns: partial results are rewritten in place, the final one stays whole."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    command = [sys.executable, "-m", "augmem.cli", "transcribe", "--package", str(package), str(speech["wav"])]
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    screen = os.read(ours, 1 << 16).decode().replace("\r\n", "\n")
    *partials, last = screen.split("\r\033[K")[1:]
    assert len(partials) >= 2 and last == result.stdout.decode()
    assert all(len(partial) < 40 or partial.endswith("\n") for partial in partials)


def test_what_is_no_audio_is_named(package: Path, tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_text("hello")
    for arguments, message in {
        (tmp_path / "talk.wav",): "talk.wav: not audio that can be read",
        (tmp_path / "none.wav",): "none.wav: no such file",
        (): "name audio files, or --microphone",
        ("--microphone", "--compare-offline"): "--compare-offline wants files",
        ("--format", "srt", tmp_path / "a.wav", tmp_path / "b.wav"): "subtitles are of one file",
    }.items():
        result = transcribe(package, *arguments)
        assert result.returncode == 1 and message in result.stderr.decode()
    result = transcribe(tmp_path / "no_package", tmp_path / "talk.wav", tmp_path / "none.wav")
    assert b"none.wav: no such file" in result.stderr, "said before anything is loaded, or decoded in vain"
    soundfile.write(tmp_path / "broken.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    assert b"broken.wav: samples that are not finite" in transcribe(package, tmp_path / "broken.wav").stderr
    silent = io.BytesIO()
    soundfile.write(silent, np.zeros(0), RATE, format="WAV")
    assert transcribe(package, "-", stdin=silent.getvalue()).stdout == b""

"""`augmem transcribe` as a command: audio files, standard input, a microphone, and errors."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
from argparse import Namespace
from pathlib import Path
from threading import Event as Flag

import numpy as np
import pytest
import soundfile

from augmem.cli import parse_and_run
from augmem.commands.transcribe import list_sources, read_packets, read_stdin
from augmem.errors import UserError
from augmem.streaming import Recognizer, RecognizerOptions, format_events
from tests.tiny import RATE, noise

KINDS = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS", "opus": "OPUS", "mp3": "MPEG_LAYER_III"}

# A replacement of python-sounddevice that plays a file from a thread, then sends SIGINT as Ctrl-C does.
DEVICE = """
import os, signal, threading, time
import soundfile

class PortAudioError(Exception): ...

class InputStream:
    def __init__(self, samplerate=None, blocksize=None, device=None, channels=None, dtype=None, callback=None):
        self.thread = threading.Thread(target=self.play, args=(samplerate, blocksize, channels, dtype, callback))
    def play(self, samplerate, blocksize, channels, dtype, callback):
        with soundfile.SoundFile(os.environ["SPOKEN"]) as spoken:
            assert (spoken.samplerate, spoken.channels) == (samplerate, channels)
            for block in spoken.blocks(blocksize, dtype=dtype, always_2d=True):
                callback(block, len(block), None, None)
                block[:] = 0  # PortAudio uses the buffer again
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)
    def __enter__(self):
        self.thread.start()
    def __exit__(self, *_):
        self.thread.join()
"""


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same audio as a file of every kind, in two channels at 48 kHz."""
    folder, samples = tmp_path_factory.mktemp("speech"), np.repeat(noise(3.0, 1), 48000 // RATE)
    files = {kind: folder / f"talk.{kind}" for kind in KINDS}
    for kind, path in files.items():
        container = {"opus": "OGG"}.get(kind, kind.upper())
        soundfile.write(path, np.stack([samples, samples], 1), 48000, subtype=KINDS[kind], format=container)
    return files


def transcribe(package: Path, *arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "augmem.cli", "transcribe", "--package", str(package), *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True)


def transcribe_microphone(package: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "augmem.cli", "transcribe", "--package", str(package), "--microphone"]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=120)


def test_every_kind_of_file_and_standard_input(package: Path, speech: dict[str, Path]) -> None:
    result = transcribe(package, *speech.values(), "-", stdin=speech["wav"].read_bytes())
    assert result.returncode == 0, result.stderr.decode()
    texts = dict(line.split("\t") for line in result.stdout.decode().splitlines())
    assert set(texts) == {*map(str, speech.values()), "-"}
    assert texts[str(speech["wav"])] == texts[str(speech["flac"])] == texts["-"]
    lengths = [len(text.split()) for text in texts.values()]
    assert min(lengths) > max(lengths) / 2, "lossy files give similar results"


def test_ctm_of_one_segment(package: Path, tmp_path: Path) -> None:
    samples = noise(4.0, 1)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    result = transcribe(package, "--one-segment", "--format", "ctm", tmp_path / "a.wav")
    assert result.returncode == 0, result.stderr.decode()
    words = [line.split()[4] for line in result.stdout.decode().splitlines()]
    (event,) = Recognizer.load(package, RecognizerOptions.one_segment()).transcribe([samples], RATE)
    assert " ".join(words) == event.text != ""


def test_standard_input_is_compared_with_offline_decoding(package: Path, speech: dict[str, Path]) -> None:
    result = transcribe(package, "--compare-offline", "-", stdin=speech["flac"].read_bytes())
    assert result.returncode == 0 and b"-: streaming and offline agree" in result.stderr and result.stdout.strip()


def test_terminal_shows_partial_results(package: Path, speech: dict[str, Path]) -> None:
    """On a pseudo-terminal of 40 columns: partial results are replaced in place, the final one is printed whole."""
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


def test_an_interrupt_writes_the_results_so_far(package: Path, tmp_path: Path) -> None:
    """Five minutes of audio, interrupted after the first final result on the terminal."""
    samples = np.tile(np.concatenate([noise(3.0, 1), np.zeros(2 * RATE, np.float32)]), 60)
    soundfile.write(tmp_path / "long.flac", samples, RATE)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "augmem.cli", "transcribe", "--package", str(package), "--format", "ctm"]
    command += ["--output", str(tmp_path / "out.ctm"), str(tmp_path / "long.flac"), str(tmp_path / "next.flac")]
    shutil.copy(tmp_path / "long.flac", tmp_path / "next.flac")
    process = subprocess.Popen(command, stderr=theirs, start_new_session=True)
    screen = ""
    while "\r\n" not in screen:
        screen += os.read(ours, 1 << 16).decode()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    screen += os.read(ours, 1 << 16).decode()
    os.close(theirs)
    assert "interrupted: the results end with the audio read so far" in screen and "Traceback" not in screen
    rows = [line.split() for line in (tmp_path / "out.ctm").read_text().splitlines()]
    assert {row[0] for row in rows} == {"long"} and 0 < float(rows[-1][2]) < 290


def test_results_before_an_input_that_cannot_be_read_are_written(package: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.wav", noise(3.0, 1), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "bad.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    result = transcribe(package, tmp_path / "good.wav", tmp_path / "bad.wav")
    assert result.returncode == 1 and b"bad.wav: samples are not finite" in result.stderr
    text = transcribe(package, tmp_path / "good.wav").stdout
    assert result.stdout == f"{tmp_path / 'good.wav'}\t".encode() + text != b""


def test_invalid_arguments_and_files_are_named(package: Path, tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_text("hello")
    for arguments, message in {
        (tmp_path / "talk.wav",): "talk.wav: cannot be read as audio",
        (tmp_path / "none.wav",): "none.wav: no such file",
        (): "give either audio files or --microphone",
        ("--microphone", "--compare-offline"): "--compare-offline requires audio files",
        ("--format", "srt", tmp_path / "a.wav", tmp_path / "b.wav"): "--format srt takes one file, not 2",
    }.items():
        result = transcribe(package, *arguments)
        assert result.returncode == 1 and message in result.stderr.decode() and b"Traceback" not in result.stderr
    result = transcribe(tmp_path / "no_package", tmp_path / "talk.wav", tmp_path / "none.wav")
    assert b"none.wav: no such file" in result.stderr, "checked before the model is loaded"
    soundfile.write(tmp_path / "broken.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    assert b"broken.wav: samples are not finite" in transcribe(package, tmp_path / "broken.wav").stderr
    silent = io.BytesIO()
    soundfile.write(silent, np.zeros(0), RATE, format="WAV")
    assert transcribe(package, "-", stdin=silent.getvalue()).stdout == b""


def test_channels_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left, right = noise(1.0, 1), noise(1.0, 2)
    soundfile.write(tmp_path / "call.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    for choice, expected in {"mix": [(left + right) / 2], "2": [right], "B": [right], "all": [left, right]}.items():
        arguments = Namespace(files=[str(tmp_path / "call.wav")], microphone=False, channel=choice)
        found = [
            np.concatenate([packet for packet, _ in read_packets(source, Flag())]) for source in list_sources(arguments)
        ]
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert ("the mean of 2 channels" in capsys.readouterr().err) == (choice == "mix")
    with pytest.raises(UserError, match=r"call\.wav: --channel 3, but the file has 2"):
        list(list_sources(Namespace(files=[str(tmp_path / "call.wav")], microphone=False, channel="3")))


def test_a_range_of_a_file_has_the_times_of_the_file(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples, path = noise(5.0, 3), str(tmp_path / "talk.wav")
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    command = ["transcribe", "--package", str(package), path, "--format", "json", "--one-segment"]
    assert parse_and_run([*command, "--from", "1.5", "--to", "00:04"]) == 0
    found = json.loads(capsys.readouterr().out)
    recognizer = Recognizer.load(package, RecognizerOptions.one_segment())
    (expected,) = recognizer.transcribe([samples[3 * RATE // 2 : 4 * RATE]], RATE)
    assert found["text"] == expected.text != ""
    assert [word["start"] for word in found["words"]] == pytest.approx([word.start + 1.5 for word in expected.words])
    assert found["end"] == pytest.approx(expected.end + 1.5)
    highest = max(word["confidence"] for word in found["words"])
    assert parse_and_run([*command, "--from", "1.5", "--to", "4", "--min-confidence", str(highest)]) == 0
    left = json.loads(capsys.readouterr().out)["words"]
    assert left == [word for word in found["words"] if word["confidence"] == highest]
    for options, message in {
        ("--from", "6"): r"talk\.wav: ends after 5\.0 s, before 6 s",
        ("--from", "3", "--to", "2"): "--to 2 is not after --from 3",
        ("--to", "soon"): "--to soon: must be a time such as",
        ("--min-confidence", "2"): "--min-confidence 2: must be from 0 to 1",
        ("--paragraphs", "2"): "--paragraphs needs --format text, not json",
        ("--format", "text", "--paragraphs", "0"): "--paragraphs 0: must be more than 0 seconds",
    }.items():
        with pytest.raises(UserError, match=message):
            parse_and_run([*command, *options])


def test_truncated_file_is_read_once_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "whole.flac", noise(2.0, 1), RATE)
    content = (tmp_path / "whole.flac").read_bytes()
    (tmp_path / "half.flac").write_bytes(content[: len(content) // 2])
    arguments = Namespace(files=[str(tmp_path / "half.flac")], microphone=False, channel="mix")
    (source,) = list_sources(arguments)
    samples = np.concatenate([packet for packet, _ in read_packets(source, Flag())])
    whole = soundfile.read(tmp_path / "whole.flac", dtype="float32")[0]
    assert 0.3 * len(whole) < len(samples) < 0.6 * len(whole)
    np.testing.assert_array_equal(samples, whole[: len(samples)])
    assert "half.flac: truncated: 2.0 s in the header, " in capsys.readouterr().err


def test_endless_standard_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augmem.commands.transcribe.STDIN_LIMIT", 1 << 20)
    with Path("/dev/zero").open() as endless:
        monkeypatch.setattr("sys.stdin", endless)
        with pytest.raises(UserError, match="more than 1 MB on standard input; write it to a file"):
            read_stdin()


def test_missing_microphone_is_reported_before_the_package_is_read(tmp_path: Path) -> None:
    result = transcribe_microphone(tmp_path)
    try:
        import sounddevice

        sounddevice.query_devices(kind="input")
    except OSError:
        expected = "augmem transcribe: no microphone: PortAudio library not found; apt-get install libportaudio2\n"
        assert (result.returncode, result.stderr) == (1, expected)
    except sounddevice.PortAudioError:
        assert result.returncode == 1 and result.stderr.startswith("augmem transcribe: ")


def test_microphone_results_are_written_after_an_interrupt(tmp_path: Path, package: Path) -> None:
    samples = noise(3.0, 1)
    soundfile.write(tmp_path / "spoken.wav", samples, RATE, subtype="FLOAT")
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / "sounddevice.py").write_text(DEVICE)
    path = os.pathsep.join([str(tmp_path / "device"), os.environ.get("PYTHONPATH", "")])
    result = transcribe_microphone(package, PYTHONPATH=path, SPOKEN=str(tmp_path / "spoken.wav"))
    assert result.returncode == 0, result.stderr
    assert "recording; Ctrl-C stops it" in result.stderr
    events = Recognizer.load(package).transcribe([samples], RATE)
    assert result.stdout == format_events("text", [("microphone", events)]) != ""

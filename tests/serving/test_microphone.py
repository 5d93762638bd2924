"""`augmem transcribe --microphone`: on a machine without one, and with one that plays a file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import soundfile

from augmem.streaming import Recognizer
from augmem.streaming.formats import write_events
from tests.tiny import RATE, make_package, noise

# What python-sounddevice offers, over a file: its blocks come from a thread, and then somebody presses Ctrl-C.
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
                block[:] = 0  # the buffer is PortAudio's own, who uses it again
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)
    def __enter__(self):
        self.thread.start()
    def __exit__(self, *_):
        self.thread.join()
"""


def transcribe(package: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "augmem.cli", "transcribe", "--package", str(package), "--microphone"]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=120)


def test_without_a_microphone_the_remedy_is_named(tmp_path: Path) -> None:
    """Before the package is looked at. Whoever has PortAudio hears of the device, whoever has not, of PortAudio."""
    result = transcribe(tmp_path)
    try:
        import sounddevice

        sounddevice.query_devices(kind="input")
    except OSError:
        expected = "augmem transcribe: no microphone: PortAudio library not found; apt-get install libportaudio2\n"
        assert (result.returncode, result.stderr) == (1, expected)
    except sounddevice.PortAudioError:
        assert result.returncode == 1 and result.stderr.startswith("augmem transcribe: ")


def test_what_has_been_heard_is_written_down_on_interrupt(tmp_path: Path) -> None:
    package, samples = make_package(tmp_path), noise(3.0, 1)
    soundfile.write(tmp_path / "spoken.wav", samples, RATE, subtype="FLOAT")
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / "sounddevice.py").write_text(DEVICE)
    result = transcribe(package, PYTHONPATH=str(tmp_path / "device"), SPOKEN=str(tmp_path / "spoken.wav"))
    assert result.returncode == 0, result.stderr
    assert "listening; Ctrl-C ends it" in result.stderr
    heard = Recognizer.load(package).transcribe([samples], RATE)
    assert result.stdout == write_events("text", [("microphone", heard)]) != ""

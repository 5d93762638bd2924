"""Recognise a file as if it were live, or the microphone: partial results while audio arrives, final results at pauses.

.venv/bin/python examples/stream.py model speech.flac
.venv/bin/python examples/stream.py model
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import augmem

augmem.prepare_libraries()  # before numpy and torch are imported

import numpy as np

RATE = 16000  # Hz, of the microphone


def read_file(path: Path, packet: float = 0.1) -> Iterator[tuple[np.ndarray, int]]:
    """Yield packets of float32 samples, and the sampling rate in Hz."""
    import soundfile

    with soundfile.SoundFile(path) as audio:
        for block in audio.blocks(int(audio.samplerate * packet), dtype="float32", always_2d=True):
            yield block.mean(axis=1), audio.samplerate


def read_microphone(packet: float = 0.1) -> Iterator[tuple[np.ndarray, int]]:
    """Yield packets of the default microphone until Ctrl-C."""
    import sounddevice

    size = int(RATE * packet)
    with sounddevice.InputStream(RATE, size, channels=1, dtype="float32") as audio:
        while True:
            yield audio.read(size)[0][:, 0].copy(), RATE


def recognise(recognizer: augmem.Recognizer, packets: Iterator[tuple[np.ndarray, int]]) -> Iterator[augmem.Event]:
    """Yield partial and final results."""
    stream = recognizer.stream()
    for samples, rate in packets:
        stream.accept_waveform(samples, rate)
        while recognizer.step([stream]):
            yield from stream.events()
    recognizer.finish([stream])
    yield from stream.events()


def main() -> None:
    """Print the results with the end time of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="folder made by augmem package")
    parser.add_argument("audio", type=Path, nargs="?", help="audio file (the microphone)")
    options = parser.parse_args()
    recognizer = augmem.Recognizer.load(options.package)
    packets = read_file(options.audio) if options.audio else read_microphone()
    for event in recognise(recognizer, packets):
        print(f"{event.kind:<8}{event.end:7.2f} s  {event.text}", flush=True)


if __name__ == "__main__":
    main()

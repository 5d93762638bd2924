"""Words in audio without speech: `python -m benchmarks.no_speech [--package MODEL]`.

Digital silence, noise and synthetic music (a decaying chord each second) are recognised as one stream each, and with
voice activity detection as `augmem transcribe --vad` does. A package for the onnx engine is used, one thread. Times are
processor seconds for each minute of audio.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augmem.onnx_engine import OnnxRecognizer
from augmem.shipped import SHIPPED_MODEL
from augmem.streaming import SpeechGate, load_detector

RATE, LOUDNESS = 16000, 0.05  # Hz; root mean square: -26 dB
Samples = NDArray[np.float32]


def pink(random: np.random.Generator, length: int) -> Samples:
    """Return noise with the same power in each octave."""
    spectrum = np.fft.rfft(random.normal(size=length))
    return np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), length)


def music(random: np.random.Generator, length: int) -> Samples:
    """Return one decaying chord of three tones, with five harmonics each."""
    at = np.arange(length) / RATE
    root, steps = 110 * 2 ** (random.integers(24) / 12), random.choice([0, 3, 4, 7, 10, 12], 3, replace=False)
    tones = (np.sin(2 * np.pi * root * n * 2 ** (step / 12) * at) / n for step in steps for n in range(1, 6))
    return sum(tones) * np.exp(-3 * at)


def seconds_of(kind: str, count: int) -> Iterator[tuple[Samples, int]]:
    """Yield the audio of a kind, a second at a time."""
    random = np.random.default_rng(0)
    makers = {"white noise, -26 dB": np.random.Generator.normal, "pink noise, -26 dB": pink, "music, -26 dB": music}
    for _ in range(count):
        if kind in makers:
            samples = makers[kind](random, size=RATE) if "white" in kind else makers[kind](random, RATE)
            yield (samples * LOUDNESS / np.sqrt(np.mean(samples**2))).astype(np.float32), RATE
        else:
            yield (random.normal(size=RATE) * (1e-3 if "noise" in kind else 0)).astype(np.float32), RATE


def measure(recognizer: OnnxRecognizer, kind: str, minutes: int, vad: bool) -> str:
    """Return words, words with a confidence of at least 0.1, seconds recognised, and time of a minute."""
    started, heard, stream, found = time.process_time(), 0.0, recognizer.stream(), []
    packets = seconds_of(kind, 60 * minutes)
    for samples, rate in SpeechGate(load_detector()).keep(packets) if vad else packets:
        heard += len(samples) / rate
        stream.accept_waveform(samples, rate)
        while recognizer.step([stream]):
            found += stream.events()
    stream.finish()
    while recognizer.step([stream]):
        pass
    words = [word for event in found + stream.events() if event.kind == "final" for word in event.words]
    sure = sum((word.confidence or 0) >= 0.1 for word in words)
    return f"{len(words)} | {sure} | {heard:.0f} | {(time.process_time() - started) / minutes:.1f}"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, default=SHIPPED_MODEL, help="package for the onnx engine (shipped)")
    parser.add_argument("--minutes", type=int, default=15, help="of each kind with --vad (%(default)s)")
    parser.add_argument("--minutes-without", type=int, default=2, help="of each kind without it (%(default)s)")
    args = parser.parse_args()
    recognizer = OnnxRecognizer(args.package)
    print("| audio | --vad | minutes | words | of confidence 0.1 | seconds recognised | time of a minute |")
    print("|---|---|---|---|---|---|---|")
    kinds = "digital silence", "noise, -60 dB", "white noise, -26 dB", "pink noise, -26 dB", "music, -26 dB"
    for vad, minutes in ((True, args.minutes), (False, args.minutes_without)):
        for kind in kinds:
            print(
                f"| {kind} | {'yes' if vad else 'no'} | {minutes} | {measure(recognizer, kind, minutes, vad)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""Words in audio without speech: `python -m benchmarks.no_speech [--package MODEL]`.

Digital silence, noise and synthetic music (a decaying chord each second) are recognised as one stream each, and with
voice activity detection as `augmem transcribe --vad` does. A package for the onnx engine is used, one thread. Times are
processor seconds for each minute of audio.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augmem.onnx_engine import OnnxRecognizer
from augmem.shipped import SHIPPED_MODEL
from augmem.streaming import SpeechGate, load_detector
from benchmarks.shipped_model import pink_noise

RATE = 16000  # Hz
Samples = NDArray[np.float32]


def music(random: np.random.Generator) -> Samples:
    """Return a second of a decaying chord of three tones, with five harmonics each."""
    at = np.arange(RATE) / RATE
    root, steps = 110 * 2 ** (random.integers(24) / 12), random.choice([0, 3, 4, 7, 10, 12], 3, replace=False)
    tones = (np.sin(2 * np.pi * root * n * 2 ** (step / 12) * at) / n for step in steps for n in range(1, 6))
    return sum(tones) * np.exp(-3 * at)


def seconds_of(kind: str, count: int) -> Iterator[tuple[Samples, int]]:
    """Yield the audio of a kind, a second at a time."""
    random = np.random.default_rng(0)
    make, loudness = KINDS[kind]
    for _ in range(count):
        samples = make(random)
        yield (samples * loudness / np.sqrt(np.mean(samples**2))).astype(np.float32), RATE


def white(random: np.random.Generator) -> Samples:
    """Return a second of white noise."""
    return random.standard_normal(RATE)


# a second of audio, and its root mean square
KINDS: dict[str, tuple[Callable[[np.random.Generator], Samples], float]] = {
    "digital silence": (white, 0.0),
    "noise, -60 dB": (white, 0.001),
    "white noise, -26 dB": (white, 0.05),
    "pink noise, -26 dB": (lambda random: pink_noise(random, RATE, RATE), 0.05),
    "music, -26 dB": (music, 0.05),
}


def measure(recognizer: OnnxRecognizer, kind: str, minutes: int, vad: bool) -> str:
    """Return words, words with a confidence of at least 0.1, seconds recognised, and time of a minute."""
    started, packets = time.process_time(), seconds_of(kind, 60 * minutes)
    passed = [samples for samples, _ in (SpeechGate(load_detector()).keep(packets) if vad else packets)]
    words = [word for event in recognizer.transcribe(passed, RATE) for word in event.words]
    confident = sum((word.confidence or 0) >= 0.1 for word in words)
    seconds = sum(map(len, passed)) / RATE
    return f"{len(words)} | {confident} | {seconds:.0f} | {(time.process_time() - started) / minutes:.1f}"


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
    for vad, minutes in ((True, args.minutes), (False, args.minutes_without)):
        for kind in KINDS:
            print(
                f"| {kind} | {'yes' if vad else 'no'} | {minutes} | {measure(recognizer, kind, minutes, vad)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""How late words come: `python -m benchmarks.streaming --package DIR FILES...`, each file streamed in real order.

The clock is the audio's: a packet of a tenth of a second arrives when it has been spoken, and computing takes as long
as it takes here. Word delay is measured from the end of a word, as the final result times it, to the partial result in
which it first stands and from which on it stays.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import soundfile
import torch

from augmem.streaming import Event, Recognizer, RecognizerOptions

PACKET = 0.1  # seconds


@dataclass
class Delays:
    """Seconds, one value an utterance or a word."""

    first_partial: list[float] = field(default_factory=list)
    final: list[float] = field(default_factory=list)
    words: list[float] = field(default_factory=list)
    audio: float = 0.0
    computing: float = 0.0


def main() -> None:
    """Stream all files and print the delays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("files", nargs="+", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recogniser = Recognizer.load(args.package, RecognizerOptions(rules=(), max_segment=float("inf")))
    delays = Delays()
    stream_file(recogniser, args.files[0], Delays())  # warm-up
    for path in args.files:
        stream_file(recogniser, path, delays)
    encoder = recogniser.model.encoder
    print(f"{len(args.files)} files, {delays.audio:.0f} s of audio, {args.threads} thread(s)")
    print(f"algorithmic: look-ahead {encoder.look_ahead:.2f} s, on average {encoder.average_latency:.2f} s")
    print(f"real-time factor {delays.computing / delays.audio:.3f}")
    for name in ("first_partial", "words", "final"):
        show(name.replace("_", " "), getattr(delays, name))


def stream_file(recogniser: Recognizer, path: Path, delays: Delays) -> None:
    """One file; what its clock shows goes to `delays`."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    samples, size = samples.mean(axis=1), int(rate * PACKET)
    stream, clock, seen = recogniser.stream(), 0.0, []
    for begin in range(0, len(samples), size):
        packet = samples[begin : begin + size]
        spoken = (begin + len(packet)) / rate
        started = time.perf_counter()
        stream.accept_waveform(packet, rate)
        recogniser.step([stream])
        taken = time.perf_counter() - started
        clock = max(clock, spoken) + taken
        delays.computing += taken
        seen += [(clock, event) for event in stream.events()]
    started = time.perf_counter()
    recogniser.finish([stream])
    taken = time.perf_counter() - started
    clock, delays.computing = clock + taken, delays.computing + taken
    seen += [(clock, event) for event in stream.events()]
    length = len(samples) / rate
    delays.audio += length
    delays.final.append(clock - length)
    delays.first_partial += [at for at, event in seen if event.text][:1]
    delays.words += word_delays(seen)


def word_delays(seen: Sequence[tuple[float, Event]]) -> list[float]:
    """For each word of the final result, how long after its end it stood, to stay."""
    final = [word.text for word in seen[-1][1].words] if seen else []
    delays = []
    for place, word in enumerate(seen[-1][1].words if seen else ()):
        since = seen[-1][0]
        for at, event in reversed(seen):
            if [other.text for other in event.words[: place + 1]] != final[: place + 1]:
                break
            since = at
        delays.append(since - word.end)
    return delays


def show(name: str, values: Sequence[float]) -> None:
    """Median and 95th percentile."""
    ordered = sorted(values)
    high = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))] if ordered else float("nan")
    middle = statistics.median(ordered) if ordered else float("nan")
    print(f"{name}: median {middle:.2f} s, 95th percentile {high:.2f} s ({len(ordered)} values)")


if __name__ == "__main__":
    main()

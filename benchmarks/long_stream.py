"""Cost and memory of a long stream: `python -m benchmarks.long_stream --package MODEL --audio FILES...`

Streams the files repeatedly, without pauses and faster than real time, with the default endpoint rules. Every few
simulated minutes it prints the computing time per second of audio and the memory in use: neither should grow.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import soundfile
import torch

from augmem.decoding import SearchConfig
from augmem.streaming import Recognizer, RecognizerOptions, Stream

PACKET = 0.1  # seconds


def main() -> None:
    """Stream and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--audio", type=Path, nargs="+", required=True, help="files with the same sampling rate")
    parser.add_argument("--minutes", type=int, default=60, help="simulated duration (%(default)s)")
    parser.add_argument("--every", type=int, default=5, help="minutes per line (%(default)s)")
    parser.add_argument("--search-beam", type=float, default=14.0, help="nats (%(default)s)")
    parser.add_argument("--max-active", type=int, default=3000, help="graph states per frame (%(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    search = SearchConfig(search_beam=args.search_beam, max_active=args.max_active)
    recognizer = Recognizer.load(args.package, RecognizerOptions(search))
    stream, spoken, computing, segments, words, rows = recognizer.stream(), 0.0, 0.0, 0, 0, 1
    print("| minute | computing, s per s | segments | words | size of the stream, KiB | resident memory, MiB |")
    print("|---|---|---|---|---|---|")
    for packet, rate in packets(args.audio):
        began = time.process_time()
        stream.accept_waveform(packet, rate)
        recognizer.step([stream])
        finals = [event for event in stream.events() if event.kind == "final"]
        computing += time.process_time() - began
        segments, words = segments + len(finals), words + sum(len(event.words) for event in finals)
        spoken += len(packet) / rate
        if spoken >= 60 * args.every * rows:
            cost = f"{computing / (60 * args.every):.3f}"
            print(
                f"| {args.every * rows} | {cost} | {segments} | {words} | {stream_size(stream)} | {resident()} |",
                flush=True,
            )
            computing, segments, words, rows = 0.0, 0, 0, rows + 1
            if rows > args.minutes / args.every:
                return


def packets(paths: Sequence[Path]) -> Iterator[tuple[np.ndarray, int]]:
    """Yield packets of the first channels of the files, again and again."""
    speech = [soundfile.read(path, dtype="int16", always_2d=True) for path in paths]
    for samples, rate in cycle(speech):
        size = int(PACKET * rate)
        yield from ((samples[begin : begin + size, 0], rate) for begin in range(0, len(samples), size))


def stream_size(stream: Stream) -> int:
    """Return the size of a stream's tensors in KiB: encoder state, frames, and scores of the current segment."""
    tensors = [*stream.encoder_state.tensors(), stream.frames, stream.scores, *stream.search.log_probs]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) // 1024


def resident() -> int:
    """Return the resident memory of this process in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20


if __name__ == "__main__":
    main()

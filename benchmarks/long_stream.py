"""Does an hour cost per second what a minute does? `python -m benchmarks.long_stream --package MODEL --audio FILES...`

Speaks the files one after another, again and again, into one stream, faster than real time, with the default rules for
endpoints; every simulated minute prints what the last one cost and what is held in memory.
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
    """A line every few simulated minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--audio", type=Path, nargs="+", required=True, help="all of one sampling rate")
    parser.add_argument("--minutes", type=int, default=60, help="simulated (%(default)s)")
    parser.add_argument("--every", type=int, default=5, help="minutes a line (%(default)s)")
    parser.add_argument("--search-beam", type=float, default=14.0)
    parser.add_argument("--max-active", type=int, default=3000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    decoding = SearchConfig(search_beam=args.search_beam, max_active=args.max_active)
    recogniser = Recognizer.load(args.package, RecognizerOptions(decoding=decoding))
    stream, spoken, computing, segments, words, rows = recogniser.stream(), 0.0, 0.0, 0, 0, 1
    print("| minute | computing, s per s | segments | words | held by the stream, KiB | resident memory, MiB |")
    print("|---|---|---|---|---|---|")
    for packet, rate in packets(args.audio):
        began = time.process_time()
        stream.accept_waveform(packet, rate)
        recogniser.step([stream])
        finals = [event for event in stream.events() if event.kind == "final"]
        computing += time.process_time() - began
        segments, words = segments + len(finals), words + sum(len(event.words) for event in finals)
        spoken += len(packet) / rate
        if spoken >= 60 * args.every * rows:
            cost = f"{computing / (60 * args.every):.3f}"
            print(
                f"| {args.every * rows} | {cost} | {segments} | {words} | {held(stream)} | {resident()} |", flush=True
            )
            computing, segments, words, rows = 0.0, 0, 0, rows + 1
            if rows > args.minutes / args.every:
                return


def packets(paths: Sequence[Path]) -> Iterator[tuple[np.ndarray, int]]:
    """The files' first channels in packets, without end."""
    speech = [soundfile.read(path, dtype="int16", always_2d=True) for path in paths]
    for samples, rate in cycle(speech):
        size = int(PACKET * rate)
        yield from ((samples[begin : begin + size, 0], rate) for begin in range(0, len(samples), size))


def held(stream: Stream) -> int:
    """KiB of tensors: the encoder's state, frames that wait, and the scores of the segment that is being searched."""
    tensors = [*stream.state.values(), stream.frames, stream.held, *stream.search.log_probs]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) // 1024


def resident() -> int:
    """MiB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20


if __name__ == "__main__":
    main()

"""Latency of streaming recognition on dev utterances: `python -m benchmarks.streaming --exp EXP [EXP ...]`.

The delays are written to EXP/latency.json, which the report of the experiment shows from its next run of stage
report on.

Time is simulated: a packet of 0.1 s arrives when its last sample has been spoken, and computation takes as long as it
takes on this machine. The delay of a word is the time from its end in the forced alignment of the transcript to the
first result that contains it and is not revised later; words that were not recognised have no delay.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import kaldialign
import numpy as np
import torch

from augmem.commands.align import load_part
from augmem.corpus import load_cuts
from augmem.decoding import TimedSymbol
from augmem.errors import UserError
from augmem.experiment import Experiment
from augmem.files import write_json
from augmem.packaging import package_model
from augmem.streaming import Event, Recognizer, RecognizerOptions

PACKET = 0.1  # seconds
INTERVAL = 0.32  # seconds between partial results
NO_WORD = "*"


@dataclass
class Delays:
    """Delays in seconds.

    Attributes:
        first_partial: delays from the beginning of each utterance to its first partial result.
        words: delays of each recognised word.
        final: delays from the end of each utterance to its final result.
        audio: total duration of the audio.
        computing: total computing time.
    """

    first_partial: list[float] = field(default_factory=list)
    words: list[float] = field(default_factory=list)
    final: list[float] = field(default_factory=list)
    audio: float = 0.0
    computing: float = 0.0


def main() -> None:
    """Stream utterances of the dev parts and print one line per experiment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp", type=Path, required=True, nargs="+")
    parser.add_argument("--every", type=int, default=6, help="stream every N-th utterance (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="number of threads (%(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"median (95th percentile), seconds; {args.threads} thread(s)\n")
    print("| experiment | L / C / R | average latency by design | real-time factor | first partial | word | final |")
    print("|---|---|---|---|---|---|---|")
    for exp in args.exp:
        print(row(exp, args.every, args.threads), flush=True)


def row(exp: Path, every: int, threads: int) -> str:
    """Measure one experiment, write its latency.json and return its line."""
    experiment, delays = Experiment.load(exp), Delays()
    with tempfile.TemporaryDirectory() as folder:
        package_model(experiment, Path(folder) / "package")
        recognizer = Recognizer.load(
            Path(folder) / "package", replace(RecognizerOptions.one_segment(), partial_interval=INTERVAL)
        )
    for number, (samples, rate, aligned) in enumerate(aligned_utterances(exp, experiment.parts.dev, every)):
        if number == 0:
            stream_once(recognizer, samples, rate, aligned, Delays())  # warm-up
        stream_once(recognizer, samples, rate, aligned, delays)
    encoder = experiment.recipe.encoder
    contexts = f"{encoder.left_context:g} / {encoder.centre:g} / {encoder.right_context:g}"
    measured = {
        "encoder": recognizer.latency,
        "partial_interval": INTERVAL,
        "threads": threads,
        "parts": list(experiment.parts.dev),
        "utterances": len(delays.final),
        "real_time_factor": delays.computing / delays.audio,
    }
    seconds = {
        name: [round(value, 3) for value in getattr(delays, name)] for name in ("first_partial", "words", "final")
    }
    write_json(experiment.latency, measured | seconds)
    figures = [format_percentiles(values) for values in (delays.first_partial, delays.words, delays.final)]
    latency = f"{recognizer.latency:.2f}"
    return f"| {' | '.join([exp.name, contexts, latency, f'{delays.computing / delays.audio:.3f}', *figures])} |"


def aligned_utterances(
    exp: Path, parts: Sequence[str], every: int
) -> Iterator[tuple[np.ndarray, int, list[TimedSymbol]]]:
    """Yield samples, sample rate and aligned words of every N-th utterance whose transcript can be aligned."""
    for part in parts:
        cuts = {cut.id: cut for cut in load_cuts(Experiment.load(exp).features, [part], in_memory=False)}
        aligner, tasks = load_part(exp, part)
        for task in islice(tasks, 0, None, every):
            try:
                words = aligner.align(task.scores, task.text).words
            except UserError:
                continue
            cut = cuts[task.name]
            yield cut.load_audio()[0].astype("float32"), cut.sampling_rate, words


def stream_once(
    recognizer: Recognizer, samples: np.ndarray, rate: int, aligned: list[TimedSymbol], delays: Delays
) -> None:
    """Stream one utterance and add its delays to `delays`."""
    stream, clock, seen, size = recognizer.stream(), 0.0, [], int(rate * PACKET)
    for begin in range(0, len(samples), size):
        packet = samples[begin : begin + size]
        spoken = (begin + len(packet)) / rate
        started = time.perf_counter()
        stream.accept_waveform(packet, rate)
        recognizer.step([stream])
        taken = time.perf_counter() - started
        clock = max(clock, spoken) + taken
        delays.computing += taken
        seen += [(clock, event) for event in stream.events()]
    started = time.perf_counter()
    recognizer.finish([stream])
    taken = time.perf_counter() - started
    clock, delays.computing = clock + taken, delays.computing + taken
    seen += [(clock, event) for event in stream.events()]
    length = len(samples) / rate
    delays.audio += length
    delays.final.append(clock - length)
    delays.first_partial += [at for at, event in seen if event.text][:1]
    delays.words += word_delays(seen, aligned)


def word_delays(seen: Sequence[tuple[float, Event]], aligned: Sequence[TimedSymbol]) -> list[float]:
    """Return the delay of each word of the transcript that was recognised."""
    final = [word.text for word in seen[-1][1].words] if seen else []
    delays, recognised, spoken = [], 0, 0
    for reference, hypothesis in kaldialign.align([word.symbol for word in aligned], final, NO_WORD):
        if reference == hypothesis:
            delays.append(stable_since(seen, final, recognised) - aligned[spoken].end)
        spoken += reference != NO_WORD
        recognised += hypothesis != NO_WORD
    return delays


def stable_since(seen: Sequence[tuple[float, Event]], final: Sequence[str], place: int) -> float:
    """Return the time from which on all results begin with the first `place` + 1 words of the final result."""
    since = seen[-1][0]
    for at, event in reversed(seen):
        if [word.text for word in event.words[: place + 1]] != final[: place + 1]:
            break
        since = at
    return since


def format_percentiles(values: Sequence[float]) -> str:
    """Format median and 95th percentile."""
    if not values:
        return "-"
    return f"{statistics.median(values):.2f} ({np.percentile(values, 95):.2f})"


if __name__ == "__main__":
    main()

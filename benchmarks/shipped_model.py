"""Word error rates, latency and speed of the shipped model: `python -m benchmarks.shipped_model`.

Utterances of dev-held and test-held are streamed as by `augmem transcribe`, with end-point detection, in packets of
0.1 s, with one thread. Every N-th utterance is also streamed at 8 kHz (G.711 mu-law) and with white and pink noise at
10 dB, whose seeds are the ids of the utterances. The delay of a word is the time from its end in the final result to
the first result that contains it and is not revised later; computation takes the processor time of this machine. The
real-time factor is that of the clean utterances.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from augmem.audio import AudioFile
from augmem.corpus.carried import CARRIED_PARTS, unpack_part
from augmem.corpus.telephone import code_g711
from augmem.files import write_text
from augmem.onnx_engine import OnnxRecognizer
from augmem.scoring import Utterance, wer_interval
from augmem.shipped import SHIPPED_MODEL
from augmem.streaming import Event
from benchmarks.streaming import PACKET, format_percentiles, stable_since

Samples = NDArray[np.float32]
SNR = 10.0  # dB
_MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
"""
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"  # in the card


@dataclass(frozen=True)
class Speech:
    """An utterance: its id, audio, sampling rate in Hz and words."""

    id: str
    samples: Samples
    rate: int
    words: Sequence[str]


@dataclass
class Results:
    """Scored utterances, delays of words in seconds, and durations of audio and computation in seconds."""

    utterances: list[Utterance]
    delays: list[float]
    audio: float = 0.0
    computing: float = 0.0

    def row(self) -> tuple[str, ...]:
        """Return number of utterances and words, WER, its intervals, and the delays of words."""
        counts = sum((utterance.counts for utterance in self.utterances[1:]), self.utterances[0].counts)
        intervals = [wer_interval(self.utterances, unit) for unit in ("utterance", "session")]
        spans = [f"{100 * interval.low:.1f} - {100 * interval.high:.1f}" for interval in intervals]
        delays = format_percentiles(self.delays)
        return (str(len(self.utterances)), str(counts.words), f"{100 * counts.rate:.2f}", *spans, delays)


def read_part(part: str, folder: Path, every: int) -> list[Speech]:
    """Return every N-th utterance of a carried part.

    Args:
        part: its name.
        folder: receives the audio.
        every: N.
    """
    texts = sorted(line for path in unpack_part(part, folder).rglob("*.trans.txt") for line in path.open())
    found = []
    for line in texts[::every]:
        name, *words = line.split()
        with AudioFile(next((folder / part).rglob(f"{name}.*"))) as audio:
            samples = np.concatenate([block[:, 0] for block in audio.blocks(audio.rate)])
            found.append(Speech(name, samples, audio.rate, words))
    return found


def clean(speech: Speech) -> Samples:
    """Return the samples as they are."""
    return speech.samples


def telephone(speech: Speech) -> Samples:
    """Return the samples after a telephone line."""
    return code_g711(speech.samples, speech.rate, "ULAW")


def white(speech: Speech) -> Samples:
    """Add white noise."""
    return add(speech, np.random.default_rng(crc32(speech.id.encode())).standard_normal(len(speech.samples)))


def pink(speech: Speech) -> Samples:
    """Add pink noise."""
    return add(speech, pink_noise(np.random.default_rng(crc32(speech.id.encode())), len(speech.samples), speech.rate))


def pink_noise(random: np.random.Generator, length: int, rate: int) -> NDArray[np.float64]:
    """Return noise whose power is inversely proportional to the frequency, from 20 Hz on."""
    spectrum = np.fft.rfft(random.standard_normal(length))
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(np.fft.rfftfreq(length, 1 / rate), 20)), length)


def add(speech: Speech, noise: NDArray[np.float64]) -> Samples:
    """Add noise at `SNR`; powers are means over the utterance."""
    ratio = np.sqrt(np.mean(speech.samples.astype(np.float64) ** 2) / np.mean(noise**2)) / 10 ** (SNR / 20)
    return (speech.samples + ratio * noise).clip(-1, 1).astype(np.float32)


CONDITIONS: dict[str, Callable[[Speech], Samples]] = {
    "clean": clean, "8 kHz, mu-law": telephone, "white noise, 10 dB": white, "pink noise, 10 dB": pink,
}  # fmt: skip


def recognise(recognizer: OnnxRecognizer, parts: Sequence[Speech], change: Callable[[Speech], Samples]) -> Results:
    """Stream utterances and score them."""
    results = Results([], [])
    for speech in parts:
        events = stream(recognizer, change(speech), speech.rate, results)
        words = [word for _, event in events if event.kind == "final" for word in event.words]
        results.delays += delays(events)
        reader, chapter, _ = speech.id.split("-")
        hypothesis = [word.text for word in words]
        results.utterances.append(Utterance(speech.id, reader, speech.words, hypothesis, f"{reader}-{chapter}"))
    return results


def stream(recognizer: OnnxRecognizer, samples: Samples, rate: int, results: Results) -> list[tuple[float, Event]]:
    """Stream an utterance in simulated time; return all events with their times, and add durations to `results`."""
    live, clock, seen, size, started = recognizer.stream(), 0.0, list[tuple[float, Event]](), int(rate * PACKET), 0.0
    for begin in range(0, len(samples), size):
        started = time.process_time()
        live.accept_waveform(samples[begin : begin + size], rate)
        if begin + size >= len(samples):
            live.finish()
        while recognizer.step([live]):
            pass
        taken = time.process_time() - started
        clock = max(clock, min(begin + size, len(samples)) / rate) + taken
        results.computing += taken
        seen += [(clock, event) for event in live.events()]
    results.audio += len(samples) / rate
    return seen


def delays(seen: Sequence[tuple[float, Event]]) -> list[float]:
    """Return the delay of each word of the final results, see above."""
    found: list[float] = []
    for segment in sorted({event.segment for _, event in seen}):
        own = [(at, event) for at, event in seen if event.segment == segment]
        words, final = own[-1][1].words, [word.text for word in own[-1][1].words]
        found += [stable_since(own, final, place) - word.end for place, word in enumerate(words)]
    return found


def transcribe_once(package: Path, audio: Path, cache: Path) -> str:
    """Run `augmem transcribe` in a process of its own; return its processor time and peak memory.

    A small process starts it: the peak memory of a process includes that of the one it was forked from.
    """
    command = [sys.executable, "-m", "augmem.cli", "transcribe", "--package", str(package), str(audio)]
    done = subprocess.run(
        [sys.executable, "-S", "-c", _MEASURE, *command],
        env=os.environ | {"AUGMEM_CACHE": str(cache)}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    seconds, kibibytes = map(float, done.stdout.split())
    return f"{seconds:.0f} s of processor time, {kibibytes / 1024:.0f} MiB of memory"


def figures(args: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Yield the lines of the card.

    Args:
        args: options of the command.
        folder: receives the audio and the decoding graph.
    """
    recognizer, total = OnnxRecognizer(args.package), Results([], [])
    yield "| part | audio | utterances | words | WER % | by utterance | by chapter | delay of words, s |"
    yield "|---|---|---|---|---|---|---|---|"
    for part in args.parts:
        for condition in CONDITIONS:
            every = args.every if condition == "clean" else args.every_other
            results = recognise(recognizer, read_part(part, folder, every), CONDITIONS[condition])
            yield f"| {' | '.join((part, condition, *results.row()))} |"
            if condition == "clean":
                total.audio += results.audio
                total.computing += results.computing
    yield ""
    speech = min(folder.rglob("*.opus"))
    size = sum(path.stat().st_size for path in args.package.iterdir()) / 1e6
    yield f"- size of all files: {size:.2f} MB; real-time factor {total.computing / total.audio:.3f} with one thread"
    for use in ("first", "second"):
        yield f"- {use} use, one utterance: {transcribe_once(args.package, speech, folder / 'cache')}"


def write_card(path: Path, lines: Sequence[str]) -> None:
    """Replace the figures in a card."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    write_text(path, "".join((before, BEGIN, "\n\n", "\n".join(lines), "\n\n", END, after)))


def main() -> None:
    """Print the figures of the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, default=SHIPPED_MODEL, help="another package for the onnx engine")
    parser.add_argument("--parts", nargs="+", default=[*CARRIED_PARTS.dev, *CARRIED_PARTS.test])
    parser.add_argument("--every", type=int, default=1, help="stream every N-th clean utterance (%(default)s)")
    parser.add_argument("--every-other", type=int, default=6, help="every N-th of the other conditions (%(default)s)")
    parser.add_argument("--card", action="store_true", help="write the figures into the card of the model")
    args = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for line in figures(args, Path(folder)):
            print(line, flush=True)
            lines.append(line)
    if args.card:
        write_card(args.package / "README.md", lines)


if __name__ == "__main__":
    main()

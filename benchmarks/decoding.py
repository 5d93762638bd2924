"""WER against real-time factor over the beams: `python -m benchmarks.decoding --exp EXP`, on utterances of a dev part.

The acoustic scores are computed once. Then the whole decode stage runs in one process with one thread for each setting:
search, n-best lists, rescoring, tuning of the scales on these utterances, and choice of the hypotheses (first pass,
rescored, MBR). Real-time factors are processor seconds per second of speech, so other work on the machine has little
effect; the total includes the encoder. The knee is the fastest setting whose WER is within 1 % (relative) of the widest
beams. Writes a Markdown table to stdout and, with --plot, a PNG.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from augmem.decoding import (
    FIRST_PASS,
    MBR,
    RESCORED,
    DecodingConfig,
    DecodingFiles,
    NbestEntry,
    UtteranceKey,
    find_lattices,
    lattice_oracle_errors,
    load_systems,
    read_system_outputs,
    tune,
    write_nbest,
)
from augmem.decoding.offline import make_batches
from augmem.decoding.worker import UtteranceDecoder, WorkerContext
from augmem.experiment import Experiment
from augmem.files import read_json
from augmem.model_acoustics import ModelAcoustics
from augmem.references import reference_words


class Setting(NamedTuple):
    """Options of one row; the n-best beam equals the output beam."""

    search_beam: float
    output_beam: float
    max_active: int
    rescoring_beam: float
    acoustic_scale: float

    def __str__(self) -> str:
        return " / ".join(f"{value:g}" for value in self)


# The widest first.
SETTINGS = (
    Setting(20.0, 10.0, 10000, 8.0, 1.5),
    Setting(20.0, 10.0, 10000, 8.0, 1.0),
    Setting(20.0, 8.0, 7000, 6.0, 2.0),
    Setting(18.0, 8.0, 5000, 6.0, 1.5),
    Setting(16.0, 8.0, 7000, 6.0, 1.0),
    Setting(16.0, 8.0, 4000, 6.0, 2.0),
    Setting(16.0, 8.0, 4000, 6.0, 1.5),
    Setting(14.0, 8.0, 4000, 6.0, 1.5),
    Setting(14.0, 6.0, 2500, 5.0, 1.5),
    Setting(12.0, 6.0, 1500, 4.0, 1.5),
)
TOLERANCE = 1.01  # WER of the knee over WER of the widest beams
SYSTEMS = (FIRST_PASS, RESCORED, MBR)
STEPS = ("search", "lists", "rescoring", "choice")


class Batch(NamedTuple):
    """Utterances with their scores (B, T, V) and lengths (B,)."""

    keys: list[UtteranceKey]
    scores: Tensor
    lengths: Tensor


@dataclass
class Stopwatch:
    """Processor seconds by step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time of a block to a step."""
        started = time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - started


class Row(NamedTuple):
    """Results of one setting: WER and real-time factor by name, means and rates as in the table."""

    setting: Setting
    wer: dict[str, float]
    rtf: dict[str, float]
    density: float
    hypotheses: float
    lattice_oracle: float
    list_oracle: float

    @property
    def total(self) -> float:
        """Real-time factor of the whole stage."""
        return sum(self.rtf.values())


class Benchmark:
    """Utterances of one part, their acoustic scores, and a worker.

    Args:
        experiment: a trained experiment with decoding graph and language models.
        part: the part.
        every: use every n-th utterance.
    """

    def __init__(self, experiment: Experiment, part: str, every: int) -> None:
        self.part, self.watch = part, Stopwatch()
        self.config = experiment.recipe.decoding
        acoustics = ModelAcoustics(experiment.model, experiment.lang, experiment.features, [part])
        cuts = dict(islice(acoustics.cuts.items(), 0, None, every))
        self.references = {key: reference_words(cut) for key, cut in cuts.items()}
        self.durations = {key: cut.duration for key, cut in cuts.items()}
        self.speech = sum(self.durations.values())
        models = (experiment.lm / "first_pass.arpa", experiment.lm / "rescoring.arpa")
        files = DecodingFiles(experiment.lang, experiment.graphs, models)
        self.worker = UtteranceDecoder(WorkerContext(self.config, acoustics, files))
        self.numbers = {word: number for number, word in self.worker.words.items()}
        acoustics([next(iter(cuts))])  # loads the model
        with torch.no_grad(), self.watch.step("encoder"):
            self.batches = [Batch(keys, *acoustics(keys)) for keys in make_batches(self.durations, 40.0)]

    @property
    def encoder_rtf(self) -> float:
        """Real-time factor of features and encoder."""
        return self.watch.seconds["encoder"] / self.speech

    def run(self, config: DecodingConfig, setting: Setting, oracle: bool) -> Row:
        """Decode, tune and choose with one setting."""
        watch, entries, oracle_errors = Stopwatch(), {}, 0
        self.worker.config = config
        for batch in self.batches:
            with watch.step("search"):
                found = find_lattices(
                    batch.scores, batch.lengths, self.worker.graph, config, [k.id for k in batch.keys]
                )
            for key, result in zip(batch.keys, found, strict=True):
                with watch.step("lists"):
                    first = self.worker.list_best(result.lattice)
                with watch.step("rescoring"):
                    rescored, _ = self.worker.rescore(result.lattice, first)
                lists = {FIRST_PASS: first, RESCORED: rescored}
                entries[key] = NbestEntry(key, self.durations[key], result.search.value, result.lattice.density, lists)
                if oracle:
                    ids = [self.numbers.get(word, -2) for word in self.references[key]]
                    oracle_errors += lattice_oracle_errors(result.lattice, ids)
        words = sum(map(len, self.references.values()))
        with tempfile.TemporaryDirectory() as folder:
            with watch.step("lists"):
                write_nbest(Path(folder) / self.part, entries.values())
            tuned = read_json(tune(Path(folder), [self.part], self.references, config))
            systems = load_systems(Path(folder) / "tuned.json")
            with watch.step("choice"):
                for name in SYSTEMS:
                    read_system_outputs(Path(folder), self.part, systems[name])
        return Row(
            setting,
            {name: tuned["systems"][name]["wer"] for name in SYSTEMS},
            {"encoder": self.encoder_rtf, **{step: watch.seconds[step] / self.speech for step in STEPS}},
            statistics.mean(entry.density for entry in entries.values()),
            statistics.mean(len(entry.lists[FIRST_PASS]) for entry in entries.values()),
            oracle_errors / words,
            tuned["oracle_wer"],
        )


def main() -> None:
    """Print the table and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp", type=Path, required=True)
    parser.add_argument("--part", help="part of the corpus (first dev part)")
    parser.add_argument("--every", type=int, default=6, help="use every N-th utterance (%(default)s)")
    parser.add_argument("--nbest", type=int, help="length of the lists (recipe)")
    parser.add_argument("--no-oracle", action="store_true", help="leave out the slow oracle WER of the lattices")
    parser.add_argument(
        "--settings",
        help="search beam/output beam/active states/rescoring beam/acoustic scale, comma separated; widest first",
    )
    parser.add_argument("--plot", type=Path, help="PNG of WER against real-time factor")
    args = parser.parse_args()
    torch.set_num_threads(1)
    experiment = Experiment.load(args.exp)
    benchmark = Benchmark(experiment, args.part or experiment.parts.dev[0], args.every)
    words = sum(map(len, benchmark.references.values()))
    print(
        f"{len(benchmark.references)} utterances of {benchmark.part}, {benchmark.speech:.0f} s, {words} words; HLG of "
        f"{benchmark.worker.graph.fsa.num_arcs:,} arcs; encoder at {benchmark.encoder_rtf:.4f} of real time\n"
    )
    print_head()
    rows = []
    for setting in parse_settings(args.settings) if args.settings else SETTINGS:
        options = {
            **setting._asdict(),
            "nbest_beam": setting.output_beam,
            "nbest": args.nbest or benchmark.config.nbest,
        }
        config = replace(benchmark.config, **options)
        rows.append(benchmark.run(config, setting, not args.no_oracle))
        print_row(rows[-1])
    best = knee(rows)
    print(f"\nknee: {best.setting} at {best.total:.3f} of real time; memory {memory():.0f} MiB")
    if args.plot:
        in_use = [("recipe", row) for row in rows if row.setting == setting_of(benchmark.config)]
        draw(rows, dict([("knee", best), *in_use]), args.plot)


def parse_settings(text: str) -> list[Setting]:
    """Parse settings such as 20/10/10000/8/1.5,14/8/4000/6/1.5."""
    fields = [item.split("/") for item in text.split(",")]
    return [
        Setting(float(search), float(output), int(active), float(rescoring), float(scale))
        for search, output, active, rescoring, scale in fields
    ]


def setting_of(config: DecodingConfig) -> Setting:
    """Return the setting of a recipe."""
    return Setting(*(getattr(config, name) for name in Setting._fields))


def knee(rows: Sequence[Row]) -> Row:
    """Return the fastest row whose WER with MBR and in the first pass is within the tolerance of the first row."""
    close = [row for row in rows if all(row.wer[name] <= TOLERANCE * rows[0].wer[name] for name in (FIRST_PASS, MBR))]
    return min(close, key=lambda row: row.total)


def print_head() -> None:
    """Print the head of the table."""
    columns = (
        "search / output beam / states / rescoring beam / acoustic scale", "first pass WER %", "rescored", "MBR",
        *(f"RTF {step}" for step in STEPS), "RTF whole stage", "arcs per frame", "hypotheses",
        "lattice oracle WER %", "list oracle WER %",
    )  # fmt: skip
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def print_row(row: Row) -> None:
    """Print a row of the table."""
    cells = (
        str(row.setting),
        *(f"{100 * row.wer[name]:.2f}" for name in SYSTEMS),
        *(f"{row.rtf[step]:.4f}" for step in STEPS),
        f"{row.total:.3f}", f"{row.density:.0f}", f"{row.hypotheses:.0f}",
        f"{100 * row.lattice_oracle:.2f}", f"{100 * row.list_oracle:.2f}",
    )  # fmt: skip
    print(f"| {' | '.join(cells)} |", flush=True)


def draw(rows: Sequence[Row], marked: Mapping[str, Row], path: Path) -> None:
    """Draw WER against the real-time factor of the whole stage, with a line at each marked row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    ordered = sorted(rows, key=lambda row: row.total)
    for name, marker in zip(SYSTEMS, "os^", strict=True):
        rates = [100 * row.wer[name] for row in ordered]
        axes.plot([row.total for row in ordered], rates, marker, label=name.replace("_", " "))
    for (name, row), style in zip(marked.items(), (":", "--"), strict=False):
        axes.axvline(row.total, color="grey", linestyle=style, label=f"{name}: {row.setting}")
    axes.set_xscale("log")
    axes.set_xlabel("real-time factor of the decode stage, one core")
    axes.set_ylabel("WER on dev, %")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=150)


def memory() -> float:
    """Return the peak resident memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()

"""Key and value projections of low rank in the onnx engine: `python -m benchmarks.low_rank --exp EXP`.

Every N-th utterance of dev-held is streamed with int8 weights and the lexicon and language model of the shipped model.
A pair of shares is that of `augmem package --low-rank`. Times of a step are processor times of one stream and one
thread; the models take turns, and the medians are given.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from augmem.low_rank import LowRank, reduce_rank
from augmem.onnx_engine.recognizer import AcousticSession
from augmem.onnx_export import int8_model
from augmem.packaging import read_experiment
from augmem.streaming import Package
from benchmarks.shipped_model import read_part
from benchmarks.weights import carried_package, stream

SHARES = ((1.0, 1.0), (1.0, 0.5), (0.5, 0.5), (0.5, 0.25), (0.25, 0.25), (0.25, 0.125), (0.125, 0.125))
COLUMNS = (
    "first, last share", "ranks by layer", "parameters", "ms per step", "bytes", "with xz", "utterances", "words",
    "WER %", "by utterance", "by chapter", "delay of words, s",
)  # fmt: skip


def reduced(package: Package, first: float, last: float) -> Package:
    """Return a package whose model has low rank."""
    return package._replace(model=reduce_rank(package.model, LowRank(first, last)))


def step_times(models: Sequence[bytes], bins: int, repeats: int = 100) -> list[float]:
    """Return the median processor time of a step of each model in milliseconds."""
    sessions = [AcousticSession(model) for model in models]
    states = [session.new_states() for session in sessions]
    window = np.random.default_rng(0).standard_normal((sessions[0].window, bins)).astype(np.float32)
    times: list[list[float]] = [[] for _ in models]
    for _ in range(repeats):
        for number, session in enumerate(sessions):
            begin = time.process_time()
            ((_, states[number]),) = session.step([window], [states[number]])
            times[number].append(1000 * (time.process_time() - begin))
    return [median(taken) for taken in times]


def describe(package: Package) -> tuple[str, str]:
    """Return the ranks of a model and its number of parameters."""
    config, model = package.model.description.encoder, package.model
    ranks = config.key_value_ranks or (config.dim,) * config.layers
    return ", ".join(map(str, ranks)), f"{sum(parameter.numel() for parameter in model.parameters()):,}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp", type=Path, required=True)
    parser.add_argument("--every", type=int, default=2, help="use every N-th utterance (%(default)s)")
    args = parser.parse_args()
    packages = [reduced(read_experiment(args.exp), *shares) for shares in SHARES]
    models = [int8_model(package) for package in packages]
    times = step_times(models, packages[0].features.num_mel_bins)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        current, speeches = carried_package(args.exp, folder), read_part("dev-held", folder, args.every)
        for shares, package, model, taken in zip(SHARES, packages, models, times, strict=True):
            row = (", ".join(map(str, shares)), *describe(package), f"{taken:.1f}", *stream(current, model, speeches))
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()

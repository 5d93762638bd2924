"""Benchmark of the denominator: `python -m benchmarks.denominator --exp EXP --histories 2000`.

Estimates a phone LM on the training transcripts of an experiment. Computes the denominator of training batches with the
log-probabilities of its model by a sparse matrix, by a dense matrix and by k2. Prints processor time and peak memory of
each (forward and backward, in a process of its own) and the differences of scores and gradients.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from torch import Tensor

from augmem.automata import denominator_fsa, k2_score, load_fsa, prepare_training_graphs
from augmem.corpus import load_cuts, training_batches
from augmem.experiment import Experiment
from augmem.graph import DENOMINATOR_FILE, PHONE_LM_FILE, DenseGraph, SparseGraph, read_denominator
from augmem.lang import Lang
from augmem.model import AcousticModel
from benchmarks.encoder import resident_peak

MATRICES = {"sparse": SparseGraph, "dense": DenseGraph}
METHODS = (*MATRICES, "k2, beam 10", "k2, beam 30")
Score = Callable[[Tensor, Tensor], Tensor]


class Result(NamedTuple):
    """Scores (B,) and gradients (B, T, V) of each batch, CPU seconds, and MiB of peak memory above the start."""

    scores: list[Tensor]
    gradients: list[Tensor]
    seconds: list[float]
    memory: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp", type=Path, required=True, help="experiment with features and a trained model")
    parser.add_argument("--order", type=int, default=3, help="order of the phone LM (%(default)s)")
    parser.add_argument(
        "--histories", type=int, default=2000, help="number of histories of two or more units (%(default)s)"
    )
    parser.add_argument("--batches", type=int, default=3, help="number of batches (%(default)s)")
    parser.add_argument(
        "--dtype", default="float32", choices=["float32", "float64"], help="type of the log-probabilities (%(default)s)"
    )
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    args = parser.parse_args()
    experiment = Experiment.load(args.exp)
    graph_config = experiment.recipe.graph
    config = replace(graph_config, context="none", phone_lm_order=args.order, phone_lm_histories=args.histories)
    with TemporaryDirectory() as folder:
        texts = experiment.texts(experiment.parts.train)
        prepare_training_graphs(config, experiment.lang, texts, Path(folder), kinds=())
        graph = read_denominator(Path(folder) / DENOMINATOR_FILE)
        print(f"{len(graph.labels)} states, {len(graph.scores)} arcs\n")
        print("| method | CPU seconds a batch | peak memory, MiB | difference of scores | of gradients |")
        print("|---|---|---|---|---|")
        first = None
        for method in args.methods:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                result = pool.apply(measure, (experiment, Path(folder), method, args.batches, args.dtype))
            first = first or result
            cells = [f"{statistics.median(result.seconds):.3f}", f"{result.memory:.0f}", *differences(result, first)]
            print(f"| {method} | {' | '.join(cells)} |", flush=True)


def measure(experiment: Experiment, graphs: Path, method: str, batches: int, dtype: str) -> Result:
    """Compute the denominator of some batches, forward and backward, with one thread."""
    torch.set_num_threads(1)
    score = build(method, experiment, graphs)
    inputs = log_probs_of_batches(experiment, batches, getattr(torch, dtype))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from the present memory
    before = resident_peak()
    score(*inputs[0]).sum().backward()  # the first batch takes longer
    scores, gradients, seconds = [], [], []
    for log_probs, lengths in inputs:
        log_probs.grad = None
        began = time.process_time()
        total = score(log_probs, lengths)
        total.sum().backward()
        seconds.append(time.process_time() - began)
        scores.append(total.detach())
        gradients.append(log_probs.grad)
    return Result(scores, gradients, seconds, resident_peak() - before)


def log_probs_of_batches(experiment: Experiment, batches: int, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """Return log-probabilities (B, T, V) of the model for training batches, and their lengths (B,)."""
    model = AcousticModel.load(experiment.model, experiment.lang).eval()
    config = replace(experiment.recipe.training.batches, workers=0)
    cuts = load_cuts(experiment.features, experiment.parts.train[:1], in_memory=False).subset(first=200)
    found = []
    for batch in islice(training_batches(cuts, config, epoch=0), batches):
        with torch.no_grad():
            log_probs, lengths = model(batch.features, batch.lengths)
        found.append((log_probs.to(dtype).requires_grad_(), lengths))
    return found


def build(method: str, experiment: Experiment, graphs: Path) -> Score:
    """Return the function that computes total scores by a method."""
    if method in MATRICES:
        return MATRICES[method](read_denominator(graphs / DENOMINATOR_FILE)).score
    num_units = Lang.load(experiment.lang).num_units
    fsa = denominator_fsa(load_fsa(graphs / PHONE_LM_FILE), experiment.recipe.graph.topology, num_units)
    return partial(k2_score, fsas=fsa, beam=float(method.split()[-1]))


def differences(result: Result, first: Result) -> list[str]:
    """Return the largest differences of scores and of gradients between two methods."""
    pairs = ((result.scores, first.scores), (result.gradients, first.gradients))
    largest = [max(float((a - b).abs().max()) for a, b in zip(*pair, strict=True)) for pair in pairs]
    return [f"{value:.1e}" for value in largest]


if __name__ == "__main__":
    main()

"""Benchmark of training: `python -m benchmarks.training --exp EXP` (an experiment with features and graphs).

Prints the share of each part of a step, under CTC and under LF-MMI; the speed-up by a second process (one thread each,
the same steps); and the speed of feature extraction compared with kaldi-native-fbank.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import kaldi_native_fbank as knf
import numpy as np
import torch

from augmem.corpus import extract_batch, load_cuts
from augmem.experiment import Experiment
from augmem.features import FeatureConfig
from augmem.stages import description
from augmem.training import build_trainer, read_log

PARTS = ("data", "encoder", "objective", "backward", "all_reduce", "optimiser")


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=24, help="steps of each measurement (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions of each measurement (%(default)s)")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--ctc", type=float, default=0.0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        train(args.exp, args.worker, args.steps, args.ctc)
        return
    shares(args.exp, args.steps)
    scaling(args.exp, args.steps, args.repeats)
    features(Experiment.load(args.exp), args.repeats)


def train(exp: Path, output: Path, steps: int, ctc_epochs: float) -> None:
    """Train a few steps of two batches each."""
    experiment = Experiment.load(exp)
    recipe, parts = experiment.recipe, experiment.parts
    config = replace(
        recipe.training, max_steps=steps, accumulate=2, log_every=4, ctc_epochs=ctc_epochs, hand_over_epochs=0
    )
    dev = load_cuts(experiment.features, parts.dev).subset(first=2)
    cuts = load_cuts(experiment.features, parts.train)
    output.mkdir(exist_ok=True)
    build_trainer(config, description(experiment), experiment.lang, experiment.training_graphs, cuts, dev, output).run()


def measure(exp: Path, steps: int, processes: int, ctc_epochs: float = 0.0) -> list[dict[str, Any]]:
    """Train in several processes of one thread each; return the lines of the log without the first."""
    with tempfile.TemporaryDirectory() as folder:
        launch = ["-m", "augmem.training.launch", "--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0"]
        command = [sys.executable, *launch, "--nproc_per_node", str(processes), "-m", "benchmarks.training"]
        options = ["--exp", str(exp), "--worker", folder, "--steps", str(steps), "--ctc", str(ctc_epochs)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([*command, *options], check=True, env=environment, capture_output=True)
        return [line for line in read_log(Path(folder) / "log.jsonl") if line["kind"] == "step"][1:]


def shares(exp: Path, steps: int) -> None:
    """Print the share of each part of a step in one process."""
    print(f"| objective | frames/s | {' | '.join(PARTS)} |")
    print(f"|---|---|{'---|' * len(PARTS)}")
    for name, ctc_epochs in (("CTC", 1e9), ("LF-MMI", 0.0)):
        lines = measure(exp, steps, 1, ctc_epochs)
        cells = [f"{100 * statistics.median(line['time'].get(part, 0.0) for line in lines):.1f} %" for part in PARTS]
        print(f"| {name} | {speed(lines):.0f} | {' | '.join(cells)} |", flush=True)


def scaling(exp: Path, steps: int, repeats: int) -> None:
    """Print the speed-up of two processes over one, from pairs of measurements."""
    pairs = [(speed(measure(exp, steps, 1)), speed(measure(exp, steps, 2))) for _ in range(repeats)]
    ratios = sorted(two / one for one, two in pairs)
    print(f"\ntwo processes / one, frames per second: median {statistics.median(ratios):.2f}, "
          f"from {ratios[0]:.2f} to {ratios[-1]:.2f}", flush=True)  # fmt: skip


def speed(lines: Sequence[dict[str, Any]]) -> float:
    """Return the median of feature frames per second."""
    return statistics.median(line["frames_per_second"] for line in lines)


def features(experiment: Experiment, repeats: int) -> None:
    """Print the speed of reading, resampling and feature extraction relative to real time, with one thread."""
    torch.set_num_threads(1)
    config = experiment.recipe.features
    cuts = list(islice(load_cuts(experiment.features, experiment.parts.dev, in_memory=False), 100))
    audio = [cut.resample(config.sampling_rate).load_audio() for cut in cuts]
    seconds = sum(samples.shape[1] for samples in audio) / config.sampling_rate
    tasks: dict[str, Callable[[], object]] = {
        "reading and resampling": lambda: [cut.resample(config.sampling_rate).load_audio() for cut in cuts],
        "Lhotse's Fbank": lambda: extract_batch(replace(config, extractor="fbank"), audio),
        "kaldi-native-fbank": lambda: [native(samples[0], config) for samples in audio],
    }
    if find_spec("kaldifeat"):
        by_kaldifeat = replace(config, extractor="kaldifeat")
        for size in (1, 2, 20):
            batches = [audio[start : start + size] for start in range(0, len(audio), size)]
            tasks[f"kaldifeat, {size} at once"] = lambda b=batches: [extract_batch(by_kaldifeat, batch) for batch in b]
    times = {name: [measure_time(task) for _ in range(repeats)] for name, task in tasks.items()}
    print("\n| features, one thread | times real time |\n|---|---|")
    for name, found in times.items():
        print(f"| {name} | {seconds / statistics.median(found):.0f} |")


def native(samples: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Compute the same features with kaldi-native-fbank."""
    options = knf.FbankOptions()
    options.frame_opts.dither, options.frame_opts.snip_edges = 0, False
    options.frame_opts.samp_freq, options.mel_opts.num_bins = config.sampling_rate, config.num_mel_bins
    options.mel_opts.low_freq, options.mel_opts.high_freq = config.low_freq, config.upper_edge
    fbank = knf.OnlineFbank(options)
    fbank.accept_waveform(config.sampling_rate, samples.tolist())
    fbank.input_finished()
    return np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])


def measure_time(task: Callable[[], object]) -> float:
    """Return the processor time of a call in seconds."""
    began = time.process_time()
    task()
    return time.process_time() - began


if __name__ == "__main__":
    main()

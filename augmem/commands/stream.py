"""Score live recognition: stream the held-out parts from their audio, compare with offline decoding, report both."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which experiment."""
    parser.add_argument("--exp", type=Path, required=True, help="the experiment's folder; it has been decoded")
    parser.add_argument("--nj", type=int, default=os.cpu_count() or 1, help="worker processes (%(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Stream, score, compare."""
    from augmem.evaluate_streaming import evaluate_streaming
    from augmem.experiment import Experiment
    from augmem.stages import report

    experiment = Experiment.load(arguments.exp)
    evaluate_streaming(experiment, arguments.nj)
    report(experiment)
    return 0

"""Score streaming recognition: stream the dev and test parts from their audio and compare with offline decoding."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from augmem.commands.options import add_hotword_option, read_hotword_option


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--exp", type=Path, required=True, help="folder of a decoded experiment")
    add_hotword_option(parser, "all utterances")
    parser.add_argument("--nj", type=int, default=os.cpu_count() or 1, help="number of worker processes (%(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Stream, score, compare and update the report."""
    from augmem.evaluate_streaming import evaluate_streaming
    from augmem.experiment import Experiment
    from augmem.stages import report

    experiment = Experiment.load(arguments.exp)
    evaluate_streaming(experiment, arguments.nj, read_hotword_option(arguments))
    report(experiment)
    return 0

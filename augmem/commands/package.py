"""Make one folder of a trained model, for `augmem transcribe` and for programs: weights, lang, graph, model card."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which model, and where to."""
    parser.add_argument("--exp", type=Path, required=True, help="the experiment's folder")
    parser.add_argument("--output", type=Path, required=True, help="the package's folder")


def run(arguments: argparse.Namespace) -> int:
    """Write the package; print where it lies."""
    from augmem.experiment import Experiment
    from augmem.packaging import package_model

    package_model(Experiment.load(arguments.exp), arguments.output)
    print(f"wrote {arguments.output}")
    return 0

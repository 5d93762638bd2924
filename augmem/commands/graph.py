"""Build a package of a trained model with another vocabulary or language model, without training."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--exp", type=Path, help="folder of a trained and decoded experiment")
    model.add_argument("--package", type=Path, help="folder of a packaged model")
    parser.add_argument("--lm", type=Path, required=True, help="n-gram model in ARPA format, may be .gz or .xz")
    parser.add_argument("--lexicon", type=Path, help="WORD P1 P2 ... lines in the model's phones, for new words")
    parser.add_argument("--output", type=Path, required=True, help="folder of the new package")


def run(arguments: argparse.Namespace) -> int:
    """Write the package and print its folder."""
    from augmem.adaptation import adapt_package, from_experiment, from_package
    from augmem.experiment import Experiment

    trained = from_experiment(Experiment.load(arguments.exp)) if arguments.exp else from_package(arguments.package)
    adapt_package(trained, arguments.lm, arguments.lexicon, arguments.output)
    print(f"wrote {arguments.output}")
    return 0

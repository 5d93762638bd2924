"""Package a trained model as one folder, for `augmem transcribe`, `augmem serve` and programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from augmem.commands.options import add_search_options, change_search


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--exp", type=Path, required=True, help="folder of the experiment")
    parser.add_argument("--output", type=Path, required=True, help="folder of the package")
    add_search_options(parser, "the recipe's section `decoding`")


def run(arguments: argparse.Namespace) -> int:
    """Write the package."""
    from augmem.experiment import Experiment
    from augmem.packaging import package_model

    experiment = Experiment.load(arguments.exp)
    package_model(experiment, arguments.output, change_search(arguments, experiment.recipe.decoding.search))
    print(f"wrote {arguments.output}")
    return 0

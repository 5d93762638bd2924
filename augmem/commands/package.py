"""Package a trained model as one folder, for `augmem transcribe`, `augmem serve` and programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from augmem.commands.options import add_low_rank_option, add_search_options, change_search, read_low_rank_option


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--exp", type=Path, required=True, help="folder of the experiment")
    parser.add_argument("--output", type=Path, required=True, help="folder of the package")
    add_low_rank_option(parser)
    add_search_options(parser, "the recipe's section `decoding`")


def run(arguments: argparse.Namespace) -> int:
    """Write the package."""
    from augmem.experiment import Experiment
    from augmem.packaging import package_model

    low_rank, experiment = read_low_rank_option(arguments), Experiment.load(arguments.exp)
    search = change_search(arguments, experiment.recipe.decoding.search)
    package_model(experiment, arguments.output, search, low_rank)
    print(f"wrote {arguments.output}")
    return 0

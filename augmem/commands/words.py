"""Add words and names to the vocabulary of a trained model, without training.

The file has a word on each line, optionally followed by a tab and its phones, and by a tab and a weight. Without phones
the lexicon of the model, the CMU dictionary or G2P gives pronunciations, which are printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from augmem.errors import UserError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder of a package, or of a decoded experiment")
    parser.add_argument("action", choices=("add",), help="add words")
    parser.add_argument(
        "names", type=Path, metavar="FILE", help="word<TAB>phones<TAB>weight lines; the last two optional"
    )
    parser.add_argument("--lm", type=Path, help="ARPA file to extend (the language model of MODEL)")
    parser.add_argument("--output", type=Path, help="folder of the new package (MODEL, if it is a package)")


def run(arguments: argparse.Namespace) -> int:
    """Write the package; print its folder and the pronunciations."""
    from augmem.adaptation import add_words, from_experiment, from_package
    from augmem.experiment import Experiment
    from augmem.lang import GIVEN

    is_experiment = (arguments.model / "recipe.yaml").is_file()
    if is_experiment and not arguments.output:
        raise UserError(f"{arguments.model} is an experiment: give the package to write (--output DIR)")
    trained = from_experiment(Experiment.load(arguments.model)) if is_experiment else from_package(arguments.model)
    output = arguments.output or arguments.model
    for entry in add_words(trained, arguments.names, arguments.lm, output):
        if entry.source != GIVEN:
            print(f"{entry.word}\t{' '.join(entry.phones)}\t({entry.source})")
    print(f"wrote {output}")
    return 0

"""Add words and names to the vocabulary of a trained model, without training.

The file has a word on each line, optionally followed by a tab and its phones, and by a tab and a weight. Without phones
the lexicon of the model, the CMU dictionary or G2P gives pronunciations, which are printed.

MODEL is a package of either engine, the name of the model that comes with augmem, or a decoded experiment.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from augmem.errors import UserError
from augmem.shipped import SHIPPED_MODEL

if TYPE_CHECKING:
    from augmem.lang import Guess


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("model", type=Path, metavar="MODEL", help=f"folder, or {SHIPPED_MODEL.name}")
    parser.add_argument("action", choices=("add",), help="add words")
    parser.add_argument(
        "names", type=Path, metavar="FILE", help="word<TAB>phones<TAB>weight lines; the last two optional"
    )
    parser.add_argument("--lm", type=Path, help="ARPA file to extend (the language model of MODEL)")
    parser.add_argument("--output", type=Path, help="folder of the new package (MODEL, if it is a package)")


def run(arguments: argparse.Namespace) -> int:
    """Write the package; print its folder and the pronunciations.

    Raises:
        UserError: the package to write is not given.
    """
    from augmem.lang import GIVEN

    model = find_model(arguments.model)
    must_stay = "an experiment" if (model / "recipe.yaml").is_file() else "part of augmem" if is_shipped(model) else ""
    if must_stay and not arguments.output:
        raise UserError(f"{model} is {must_stay}: give the package to write (--output DIR)")
    output = arguments.output or model
    for entry in add_to_model(model, arguments.names, arguments.lm, output):
        if entry.source != GIVEN:
            print(f"{entry.word}\t{' '.join(entry.phones)}\t({entry.source})")
    print(f"wrote {output}")
    return 0


def find_model(given: Path) -> Path:
    """Return the folder of a model, or that of the shipped model for its name."""
    return SHIPPED_MODEL if str(given) == SHIPPED_MODEL.name and not given.exists() else given


def is_shipped(model: Path) -> bool:
    """Return whether a folder is the model that comes with augmem."""
    return model.resolve() == SHIPPED_MODEL.resolve()


def add_to_model(model: Path, names: Path, arpa: Path | None, output: Path) -> list[Guess]:
    """Write a package with further words, of the kind of the model; see `augmem.adaptation.add_words`."""
    from augmem.onnx_package import is_onnx_package

    if is_onnx_package(model):
        from augmem.onnx_words import add_onnx_words

        return add_onnx_words(model, names, arpa, output)
    from augmem.adaptation import add_words, from_experiment, from_package
    from augmem.experiment import Experiment

    is_experiment = (model / "recipe.yaml").is_file()
    trained = from_experiment(Experiment.load(model)) if is_experiment else from_package(model)
    return add_words(trained, names, arpa, output)

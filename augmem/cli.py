"""The console command `augmem`: one subcommand per stage of run.sh, and the tools around them."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from importlib import import_module
from pathlib import Path

STAGES = {
    "corpus": "audio and transcripts to Lhotse manifests",
    "features": "log-mel features on disk",
    "lang": "lexicon, tokens and words",
    "lm": "n-gram language models",
    "graphs": "topology, phone LM and decoding graph",
    "train": "train the acoustic model, or go on training it",
    "decode": "lattices and n-best lists; scales tuned on dev",
    "score": "word error rates with intervals",
    "report": "one HTML page",
}

PARALLEL = ("features", "decode")

TOOLS = {
    "align": "when each word and sound of a known transcript was said: CTM and TextGrid",
    "compare": "is one experiment better than another, or lucky?",
    "doctor": "versions, a self test, what is wrong and what mends it",
    "export": "the streaming step as TorchScript or ONNX",
    "inspect": "a picture of what each layer and head attends to",
    "kaldi": "manifests as Kaldi data directories",
    "package": "a trained model as one folder, for transcribe and for programs",
    "serve": "live recognition over websockets, with a page to speak into",
    "stream": "word error rates of live recognition, beside offline decoding",
    "validate": "all that is wrong with a corpus: file, line, fault and remedy",
    "transcribe": "write down what is said, while it is being said",
}


def main() -> int:
    """Run one subcommand; a fault of the user's data ends in one line, not in a traceback."""
    arguments, rest = command_parser().parse_known_args()
    leads = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started; the others tell faults only
    logging.basicConfig(level=logging.INFO if leads else logging.WARNING, format="%(message)s", stream=sys.stdout)
    try:
        return run(arguments, rest)
    except (ValueError, OSError, FloatingPointError) as error:
        if arguments.traceback:
            raise
        print(f"augmem {arguments.command}: {error}", file=sys.stderr)
        return 1


def command_parser() -> argparse.ArgumentParser:
    """All subcommands and their options; a recipe's own options are left to jsonargparse."""
    parser = argparse.ArgumentParser(prog="augmem", description=__doc__)
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error arose")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in TOOLS.items():
        tool = import_module(f"augmem.commands.{name}")
        tool.add_options(commands.add_parser(name, help=summary, description=tool.__doc__))
    recipe = commands.add_parser("recipe", help="freeze a recipe into an experiment folder", add_help=False)
    recipe.add_argument("--exp", type=Path)
    recipe.add_argument("--processes", type=int, default=1)
    recipe.add_argument("--help", "-h", action="store_true")
    for name, summary in STAGES.items():
        stage = commands.add_parser(name, help=summary)
        stage.add_argument("--exp", type=Path, required=True, help="the experiment's folder")
        if name in PARALLEL:
            stage.add_argument("--nj", type=int, default=os.cpu_count() or 1, help="worker processes (%(default)s)")
            stage.add_argument("--scheduler", help="Dask's, tcp://HOST:PORT: use its workers in the place of --nj")
        if name == "train":
            stage.add_argument("--max-minutes", type=float, help="stop after that long, to go on at the next run")
    return parser


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Dispatch; imports wait until here, so that `--help` and the doctor need nothing that may be broken."""
    if arguments.command == "recipe":
        return recipe(arguments, rest)
    if rest:
        raise ValueError(f"unknown options {' '.join(rest)}; augmem {arguments.command} --help lists those there are")
    if arguments.command in TOOLS:
        return int(import_module(f"augmem.commands.{arguments.command}").run(arguments))
    from augmem import stages
    from augmem.experiment import Experiment

    experiment = Experiment.load(arguments.exp)
    if arguments.command == "train":
        finished = stages.train(experiment, arguments.max_minutes)
        return 0 if finished or "WORLD_SIZE" in os.environ else 3  # torchrun would start a process again that says 3
    options = [arguments.nj, arguments.scheduler] if arguments.command in PARALLEL else []
    getattr(stages, arguments.command)(experiment, *options)
    return 0


def recipe(arguments: argparse.Namespace, options: list[str]) -> int:
    """`augmem recipe --exp DIR [--processes N] --config FILE [--section.field value ...]`."""
    from augmem.recipe import freeze_recipe, recipe_parser

    if arguments.help:
        recipe_parser(prog="augmem recipe --exp DIR").print_help()
        return 0
    if arguments.exp is None:
        raise ValueError("name the experiment's folder with --exp")
    print(f"recipe: wrote {freeze_recipe(options, arguments.exp, arguments.processes)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

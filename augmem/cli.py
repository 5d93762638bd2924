"""The console command `augmem`: all stages (`run`), each stage, and the tools."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from contextlib import nullcontext
from importlib import import_module, metadata
from pathlib import Path

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from augmem.commands.run import PARALLEL, STAGES, rewrite_options
from augmem.errors import INTERRUPTED, OptionError, UserError
from augmem.machine import prepare_libraries

STAGE_COMMANDS = {name: summary for name, summary in STAGES.items() if name != "environment"}

TOOLS = {
    "align": "align transcripts with audio: word and phone times as CTM and TextGrid",
    "compact": "make a compact copy of LibriSpeech parts, as in corpora/",
    "compare": "compare the word error rates of two experiments with paired significance tests",
    "convert": "convert pickled files of earlier releases and of icefall, or write icefall's",
    "doctor": "check versions and libraries, and print how to fix problems",
    "export": "export the streaming step as TorchScript or ONNX",
    "graph": "build a package with another vocabulary or language model for a trained model",
    "inspect": "plot the attention of each layer and head",
    "kaldi": "export manifests as Kaldi data directories",
    "package": "copy a trained model and all it needs into one folder",
    "prune-lm": "make a smaller n-gram language model and its lexicon",
    "run": "run all stages, from audio to a table of word error rates",
    "segment": "divide a long recording with an imperfect text into utterances for training",
    "serve": "serve streaming recognition over websockets, with a web page",
    "stream": "compute word error rates of streaming recognition and compare with offline decoding",
    "transcribe": "transcribe audio files or the microphone",
    "validate": "list all problems of a corpus with file, line and remedy",
    "wer": "compute word error rates of two transcripts: text, trn, CTM or STM",
    "words": "add words and names to the vocabulary of a trained model",
}

USER_ERRORS = (UserError, OSError)


def main() -> int:
    """Run one subcommand; print errors of the user without a traceback."""
    prepare_libraries()  # before torch and numpy are imported
    words = sys.argv[1:]
    first_process = os.environ.get("RANK", "0") == "0"  # of those started by torchrun; the others log warnings only
    level = logging.INFO if first_process else logging.WARNING
    log = sys.stderr if find_command(words) == "transcribe" else sys.stdout  # the stream without results
    logging.basicConfig(level=level, format="%(message)s", stream=log)
    logging.getLogger("torch").setLevel(logging.WARNING)  # torch.distributed logs each connection
    try:
        return parse_and_run(words)
    except USER_ERRORS as error:
        if "--traceback" in words:
            raise
        print(f"augmem {find_command(words)}: {error}", file=sys.stderr)
        return 2 if isinstance(error, OptionError) else 1
    except KeyboardInterrupt:
        if "--traceback" in words:
            raise
        return report_interrupt(words)
    except ModuleNotFoundError as error:
        extra = find_extra((error.name or "").partition(".")[0])
        if "--traceback" in words or not extra:
            raise
        print(f"augmem {find_command(words)}: {error}; pip install 'augmem[{extra}]'", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if "--traceback" not in words and str(error).startswith("KeyboardInterrupt"):  # while torch was imported
            return report_interrupt(words)
        if "--traceback" in words or not is_out_of_memory(error):
            raise
        print(f"augmem {find_command(words)}: {explain_out_of_memory(error)}", file=sys.stderr)
        return 1


def report_interrupt(words: list[str]) -> int:
    """Report Ctrl-C; return the exit status."""
    if "WORLD_SIZE" not in os.environ:  # else the launcher reports it
        print(f"augmem {find_command(words)}: interrupted", file=sys.stderr)
    return INTERRUPTED


def find_extra(module: str) -> str:
    """Return the name of the extra that installs a module; empty if none does.

    Example:
        >>> find_extra("distributed"), find_extra("os")
        ('cluster', '')
    """
    for requirement in metadata.requires("augmem") or ():
        name, _, extra = requirement.partition(" extra == ")
        if module not in ("", "augmem") and re.match(rf"{module.replace('_', '-')}\b", name):
            return extra.strip("\"'")
    return ""


def is_out_of_memory(error: Exception) -> bool:
    """Return whether Python, a GPU or torch's CPU allocator had no memory left; torch raises plain RuntimeErrors.

    Example:
        >>> is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
        True
        >>> is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
        False
    """
    lines = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, MemoryError) or any(line in str(error) for line in lines)


def explain_out_of_memory(error: Exception) -> str:
    """Return one line with the reason and the options that need less memory."""
    reason = (str(error).splitlines() or ["no memory left"])[0][:200]
    return (
        f"out of memory ({reason}); use fewer processes (--nj, --processes), smaller batches "
        "(--training.batches.max_duration), or a smaller search (--decoding.max_active)"
    )


def parse_and_run(words: list[str]) -> int:
    """Run the subcommand given by the words of the command line; return the exit status."""
    command = find_command(words)
    if command == "recipe":
        return begin_run_command(words)
    words = rewrite_options(words) if command == "run" else words
    return run(command_parser(command).parse_args(words))


def begin_run_command(words: list[str]) -> int:
    """Resolve the options of a run of stages; print the file with them."""
    from augmem.renamed_options import update_options
    from augmem.run_options import begin_run

    words = update_options(words)
    if {"-h", "--help"} & set(words):
        command_parser("recipe").parse_args(words)
    # argparse, because parsers of jsonargparse do not separate the options that they have from others.
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_run_options(parser)
    words = [word for word in words if word != "--traceback"]
    words.remove("recipe")
    run, options = parser.parse_known_args(words)
    file = begin_run(options, run.exp, run.stages.split(","), run.lock, run.folder, run.processes)
    print(f"recipe: options of this run in {file}")
    return 0


def find_command(words: list[str]) -> str:
    """Return the name of the subcommand.

    Example:
        >>> find_command(["--traceback", "train", "--exp", "exp/A"])
        'train'
    """
    return next((word for word in words if not word.startswith("-")), "")


def command_parser(command: str) -> ArgumentParser:
    """Return the parser of all subcommands.

    The options of a recipe are added for `augmem recipe` alone: their dataclasses import torch and k2, without which
    `augmem --help` and `augmem doctor` must work.
    """
    parser = plain_parser(prog="augmem", description=__doc__)
    parser.add_argument("--traceback", action="store_true", help="print a traceback with each error")
    commands = parser.add_subcommands(required=True, dest="command", metavar="COMMAND", title="commands")
    for name, summary in TOOLS.items():
        tool = import_module(f"augmem.commands.{name.replace('-', '_')}")
        tool_parser = plain_parser(description=tool.__doc__)
        tool.add_options(tool_parser)
        commands.add_subcommand(name, tool_parser, help=summary)
    for name, summary in STAGE_COMMANDS.items():
        commands.add_subcommand(name, stage_parser(name), help=summary)
    recipe = recipe_command_parser() if command == "recipe" else plain_parser()
    commands.add_subcommand("recipe", recipe, help="resolve the options of a run of stages")
    recipe.formatter_class = DefaultHelpFormatter  # with types and defaults of all options
    return parser


def plain_parser(**options: str | None) -> ArgumentParser:
    """Return a parser whose help shows no Python types."""
    return ArgumentParser(formatter_class=argparse.HelpFormatter, **options)


def stage_parser(name: str) -> ArgumentParser:
    """Return the parser of a stage of run.sh."""
    parser = plain_parser(description=f"{name}: {STAGES[name]}")
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder")
    parser.add_argument("--recipe", type=Path, help="file with the options of this run (the experiment's own)")
    if name in PARALLEL:
        cores = len(os.sched_getaffinity(0))
        parser.add_argument("--nj", type=int, default=cores, help="worker processes (one per core: %(default)s)")
        parser.add_argument("--scheduler", help="Dask scheduler, tcp://HOST:PORT, whose workers replace those of --nj")
    if name == "train":
        parser.add_argument("--max-minutes", type=float, help="stop after N minutes; the next run resumes training")
        parser.add_argument("--processes", type=int, help="training processes (one per GPU, or per core without one)")
    return parser


def recipe_command_parser() -> ArgumentParser:
    """Return the parser of `augmem recipe`."""
    from augmem.recipe import recipe_parser

    parser = recipe_parser(description="Resolve the options of a run of stages; each stage then keeps its own.")
    add_run_options(parser)
    return parser


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that run.sh gives to `augmem recipe` besides those of the recipe."""
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder")
    parser.add_argument("--stages", default=",".join(STAGE_COMMANDS), help="stages to run, comma separated")
    parser.add_argument("--processes", type=int, default=1, help="training processes")
    parser.add_argument("--folder", type=Path, default=Path(), help="folder where relative paths are sought first")
    parser.add_argument("--lock", type=int, help="file descriptor of <exp>/../.<name>.run.yaml, which holds its lock")


def run(arguments: Namespace) -> int:
    """Run a parsed subcommand; return the exit status."""
    command, options = arguments.command, arguments[arguments.command]
    if command in TOOLS:
        return int(import_module(f"augmem.commands.{command.replace('-', '_')}").run(options))
    return run_stage_command(command, options)


def run_stage_command(name: str, options: Namespace) -> int:
    """Run a stage of an experiment; return the exit status: 3 if training was stopped by --max-minutes."""
    from augmem import stages
    from augmem.experiment import Experiment
    from augmem.run_options import keep_options, lock_own_run

    experiment = Experiment.load(options.exp, options.recipe)
    with nullcontext() if options.recipe else lock_own_run(options.exp):
        if name == "train":
            finished = stages.train(experiment, options.max_minutes, options.processes)
            # torchrun restarts a process with another status than 0
            return 0 if finished or "WORLD_SIZE" in os.environ else 3
        workers = [options.nj, options.scheduler] if name in PARALLEL else []
        getattr(stages, name)(experiment, *workers)
        keep_options(experiment, name)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Export a model for programs without this package: the streaming step alone, or all files of sherpa-onnx.

--output FILE.pt or FILE.onnx: the streaming step as TorchScript or ONNX. It never clears its memory bank. With
encoder.summary_sees_memory and without slot_squash the norm of memory slots can grow, so reset the state of a stream
every minute or two, in a pause.

--format sherpa-onnx DIR: model, graph and a program that transcribes a file, see DIR/README.md.

--format onnx DIR: a small package that augmem transcribe --engine onnx reads without torch and k2.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from augmem.commands.options import add_low_rank_option, read_low_rank_option
from augmem.errors import UserError

ONNX, SHERPA = "onnx", "sherpa-onnx"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add options for model and output."""
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="folder to write, with --format")
    parser.add_argument("--exp", type=Path, help="experiment folder")
    parser.add_argument("--package", type=Path, help="folder made by augmem package, with --format")
    parser.add_argument("--format", choices=[ONNX, SHERPA], help="program that will run the model")
    parser.add_argument("--output", type=Path, help="FILE.pt for TorchScript, FILE.onnx for ONNX")
    parser.add_argument("--batch", type=int, default=1, help="streams per step (%(default)s)")
    # --memory-slots is the name of earlier releases.
    bank_help = "memory slots per stream (encoder.memory_slots of the model)"
    parser.add_argument("--bank-size", "--memory-slots", type=int, metavar="SLOTS", help=bank_help)
    add_low_rank_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the files.

    Raises:
        UserError: options that do not go together.
    """
    if (arguments.exp is None) == (arguments.package is None):
        raise UserError("give either --exp or --package")
    if arguments.format:
        return write_folder(arguments)
    if arguments.exp is None or arguments.output is None or arguments.folder is not None:
        raise UserError("without --format, give --exp EXP --output FILE.pt or FILE.onnx")
    return write_step(arguments)


def write_folder(arguments: argparse.Namespace) -> int:
    """Write the files of sherpa-onnx or of the onnx engine, and print how to use them."""
    from augmem.experiment import Experiment
    from augmem.low_rank import reduce_rank
    from augmem.onnx_export import export_onnx_package
    from augmem.packaging import read_experiment
    from augmem.sherpa import export_sherpa
    from augmem.streaming import GRAMMAR_FILE, open_package

    folder, name, low_rank = arguments.folder, arguments.format, read_low_rank_option(arguments)
    if folder is None or arguments.output is not None:
        raise UserError(f"--format {name} takes a folder: augmem export --package PACKAGE --format {name} DIR")
    package = read_experiment(arguments.exp) if arguments.exp else open_package(arguments.package)
    if low_rank:
        package = package._replace(model=reduce_rank(package.model, low_rank))
    if name == SHERPA:
        export_sherpa(package, folder)
        print(f"wrote {folder}; python {folder / 'transcribe.py'} FILE.wav transcribes a file")
        return 0
    grammar = Experiment.load(arguments.exp).grammar if arguments.exp else arguments.package / GRAMMAR_FILE
    export_onnx_package(package, grammar, folder)
    print(f"wrote {folder}; augmem transcribe --engine onnx --package {folder} FILE transcribes a file")
    return 0


def write_step(arguments: argparse.Namespace) -> int:
    """Write the streaming step; print the inputs and the state of a step."""
    from augmem.experiment import Experiment
    from augmem.export import export_step, facts_file
    from augmem.packaging import read_model
    from augmem.stage_runner import check_outputs

    low_rank = read_low_rank_option(arguments)
    experiment = Experiment.load(arguments.exp)
    check_outputs(experiment.model, experiment.lang)
    model = read_model(experiment, low_rank)
    facts = export_step(model, arguments.output, arguments.batch, arguments.bank_size)
    print(f"{facts['format']}: {facts['chunk_frames']} feature frames per step; state: {', '.join(facts['state'])}")
    print(f"wrote {arguments.output} and {facts_file(arguments.output)}")
    return 0

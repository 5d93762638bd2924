"""Export the streaming step of the acoustic model as TorchScript or ONNX, for programs without this package.

The exported step never clears its memory bank. With encoder.summary_sees_memory and without slot_squash the norm of
memory slots can grow, so reset the state of a stream every minute or two, in a pause.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add options for model and output."""
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder")
    parser.add_argument("--output", type=Path, required=True, help="FILE.pt for TorchScript, FILE.onnx for ONNX")
    parser.add_argument("--batch", type=int, default=1, help="streams per step (%(default)s)")
    # --memory-slots is the name of earlier releases.
    bank_help = "memory slots per stream (encoder.memory_slots of the model)"
    parser.add_argument("--bank-size", "--memory-slots", type=int, metavar="SLOTS", help=bank_help)


def run(arguments: argparse.Namespace) -> int:
    """Write the file and print the inputs and the state of a step."""
    from augmem.experiment import Experiment
    from augmem.export import export_step, facts_file
    from augmem.model import AcousticModel
    from augmem.stage_runner import check_outputs

    experiment = Experiment.load(arguments.exp)
    check_outputs(experiment.model, experiment.lang)
    model = AcousticModel.load(experiment.model, experiment.lang)
    facts = export_step(model, arguments.output, arguments.batch, arguments.bank_size)
    print(f"{facts['format']}: {facts['chunk_frames']} feature frames per step; state: {', '.join(facts['state'])}")
    print(f"wrote {arguments.output} and {facts_file(arguments.output)}")
    return 0

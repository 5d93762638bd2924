"""Write the acoustic model's streaming step to one file, for programs without this package: TorchScript or ONNX.

Nothing in it forgets: where encoder.summary_sees_memory and no slot_squash let slots grow, begin a stream's state anew
every minute or two, in a pause, as live recognition does with its memory.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which model, and where to."""
    parser.add_argument("--exp", type=Path, required=True, help="the experiment's folder")
    parser.add_argument("--output", type=Path, required=True, help="FILE.pt for TorchScript, FILE.onnx for ONNX")
    parser.add_argument("--batch", type=int, default=1, help="streams in a step (%(default)s)")
    parser.add_argument("--memory-slots", type=int, help="memory slots a stream keeps (the model's own bound)")


def run(arguments: argparse.Namespace) -> int:
    """Write the file, and print what a step takes and gives."""
    from augmem.experiment import Experiment
    from augmem.export import export_step, facts_file
    from augmem.model import AcousticModel

    experiment = Experiment.load(arguments.exp)
    model = AcousticModel.load(experiment.model, experiment.lang)
    facts = export_step(model, arguments.output, arguments.batch, arguments.memory_slots)
    print(f"{facts['format']}: {facts['chunk_frames']} feature frames a step; state: {', '.join(facts['state'])}")
    print(f"wrote {arguments.output} and {facts_file(arguments.output)}")
    return 0

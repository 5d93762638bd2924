"""The acoustic model's streaming step as one file, for programs without this package: TorchScript or ONNX.

Beside the file lies <file>.json: what to feed, how often, and what the state is. A step takes features, the number of
real frames among them and the state; it gives log-probabilities, how many of their frames count, and the new state.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from augmem.encoder import StaticStep
from augmem.files import atomic_path, write_json
from augmem.model import AcousticModel

FORMATS = {".pt": "TorchScript", ".onnx": "ONNX"}
_OPSET = 17


class ModelStep(nn.Module):
    """Normalisation -> one static step of the encoder -> log-probabilities of units.

    Args:
        model: with an augmented-memory encoder.
        batch: streams per step, B.
        slots: bound of the memory bank; see `StaticStep`.
    """

    def __init__(self, model: AcousticModel, batch: int = 1, slots: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.step = StaticStep(model.encoder, batch, slots)

    def forward(self, features: Tensor, real: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """(B, chunk_frames, F) and (B,) -> log-probabilities (B, C, V), how many are real (B,), and the new state."""
        hidden, count, *new = self.step(self.model.normalise(features), real, *state)
        return self.model.score(hidden), count, *new

    def example(self) -> tuple[Tensor, ...]:
        """Inputs of a first step."""
        size = (self.step.batch, self.step.chunk_frames, self.model.description.feature_dim)
        real = torch.full((self.step.batch,), self.step.chunk_frames)
        return torch.zeros(size), real, *self.step.init_state().values()

    def facts(self) -> dict[str, Any]:
        """What a program must know that runs the file."""
        described = self.model.description
        state = {
            name: {"shape": list(v.shape), "dtype": str(v.dtype)[6:]} for name, v in self.step.init_state().items()
        }
        return {
            "inputs": ["features", "real", *state],
            "outputs": ["log_probs", "count", *(f"new_{name}" for name in state)],
            "state": state,
            "chunk_frames": self.step.chunk_frames,
            "steps_after_the_last_frame": self.step.delay,
            "frame_shift": described.frame_shift,
            "output_frame_shift": self.model.frame_shift,
            "num_units": described.num_units,
            "topology": described.topology,
            "units_hash": described.units_hash,
            "features": described.features,
        }


def facts_file(output: Path) -> Path:
    """step.onnx -> step.onnx.json."""
    return output.with_name(f"{output.name}.json")


def export_step(model: AcousticModel, output: Path, batch: int = 1, slots: int | None = None) -> dict[str, Any]:
    """Write the streaming step to `output` (.pt or .onnx) and its facts to a .json beside it; return the facts.

    Raises:
        ValueError: another ending, sizes that make no sense, or a model without such a step.
    """
    if output.suffix not in FORMATS:
        raise ValueError(f"{output}: must end in {' or '.join(FORMATS)}, for {' or '.join(FORMATS.values())}")
    if batch < 1 or (slots or 0) < 0:
        raise ValueError(
            f"{batch} streams with {slots} memory slots each: want one stream at least, and no fewer slots than 0"
        )
    step = ModelStep(model, batch, slots).eval()
    facts = {"format": FORMATS[output.suffix]} | step.facts()
    with atomic_path(output) as temporary, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracers name every table of fixed shapes a constant: so it is meant
        if output.suffix == ".pt":
            torch.jit.trace(step, step.example()).save(str(temporary))
        else:
            torch.onnx.export(
                step, step.example(), str(temporary), opset_version=_OPSET,
                input_names=facts["inputs"], output_names=facts["outputs"],
            )  # fmt: skip
    write_json(facts_file(output), facts)
    return facts

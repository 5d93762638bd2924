"""Export the streaming step of an acoustic model as TorchScript or ONNX, for programs without this package.

<file>.json in this folder describes inputs, outputs and state. A step takes features, the number of valid frames among
them and the state; it returns log-probabilities, the number of their valid frames, and the new state.

Letters: B streams, F feature bins, C frames of a centre, V units.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from augmem.encoder import StaticStep
from augmem.errors import UserError
from augmem.files import atomic_path, write_json
from augmem.model import AcousticModel

EXPORT_FORMATS = {".pt": "TorchScript", ".onnx": "ONNX"}
_OPSET = 17


class ModelStep(nn.Module):
    """Normalisation, one static step of the encoder, log-probabilities of units.

    Args:
        model: model with an augmented-memory encoder.
        batch: streams per step, B.
        bank_size: size of the memory bank; see `StaticStep`.
    """

    def __init__(self, model: AcousticModel, batch: int = 1, bank_size: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.step = StaticStep(model.encoder, batch, bank_size)

    def forward(self, features: Tensor, valid: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Run one step.

        Args:
            features: (B, chunk_frames, F).
            valid: (B,) valid frames among them.
            state: values in the order of `StaticStep.init_state`.

        Returns:
            log-probabilities (B, C, V), how many of their frames are valid (B,), and the values of the new state.
        """
        hidden, count, *new = self.step(self.model.normalise(features), valid, *state)
        return self.model.score(hidden), count, *new

    def example(self) -> tuple[Tensor, ...]:
        """Return the inputs of a first step."""
        size = (self.step.batch, self.step.chunk_frames, self.model.description.feature_dim)
        valid = torch.full((self.step.batch,), self.step.chunk_frames)
        return torch.zeros(size), valid, *self.step.init_state().values()

    def facts(self) -> dict[str, Any]:
        """Describe inputs, outputs, state and features, for programs that run the file."""
        described = self.model.description
        state = {
            name: {"shape": list(v.shape), "dtype": str(v.dtype)[6:]} for name, v in self.step.init_state().items()
        }
        return {
            "inputs": ["features", "valid", *state],
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
    """Return the path of the description: step.onnx -> step.onnx.json."""
    return output.with_name(f"{output.name}.json")


def export_step(model: AcousticModel, output: Path, batch: int = 1, bank_size: int | None = None) -> dict[str, Any]:
    """Write the streaming step to `output` and its description to `output`.json.

    Args:
        model: model with an augmented-memory encoder.
        output: file that ends in .pt (TorchScript) or .onnx (ONNX).
        batch: streams per step.
        bank_size: size of the memory bank; see `StaticStep`.

    Returns:
        the description.

    Raises:
        UserError: another ending, sizes out of range, a model without such a step, or no package for ONNX.
    """
    if output.suffix not in EXPORT_FORMATS:
        raise UserError(
            f"--output {output}: must end in {' or '.join(EXPORT_FORMATS)}, for {' or '.join(EXPORT_FORMATS.values())}"
        )
    if batch < 1:
        raise UserError(f"--batch {batch}: must be at least 1")
    if bank_size is not None and bank_size < 0:
        raise UserError(f"--bank-size {bank_size}: must be at least 0")
    step = ModelStep(model, batch, bank_size).eval()
    facts = {"format": EXPORT_FORMATS[output.suffix]} | step.facts()
    with atomic_path(output) as temporary, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns about constants; all shapes are constant here
        if output.suffix == ".pt":
            torch.jit.trace(step, step.example()).save(str(temporary))
        else:
            write_onnx(step, step.example(), temporary, facts["inputs"], facts["outputs"])
    write_json(facts_file(output), facts)
    return facts


def write_onnx(
    step: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]] | None = None,
) -> None:
    """Write an ONNX file.

    Args:
        step: module to trace.
        example: its inputs.
        path: file to write.
        inputs, outputs: names.
        axes: axes of variable size by input and output; none by default.

    Raises:
        UserError: this torch needs a package that is not installed.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns about constants, which do not depend on the input here
        torch.onnx.export(
            step, example, str(path), opset_version=_OPSET, input_names=list(inputs), output_names=list(outputs),
            dynamic_axes=axes, **_exporter(),
        )  # fmt: skip


def _exporter() -> dict[str, bool]:
    """Select the exporter that traces, where torch has two.

    It writes a single file and the same operators with all releases. The other one, torch's default since 2.9, stores
    large weights in a second file.

    Raises:
        UserError: a torch with two exporters needs the package onnx for either of them.
    """
    if "dynamo" not in inspect.signature(torch.onnx.export).parameters:
        return {}
    if find_spec("onnx") is None:
        raise UserError("this torch needs the package onnx to write .onnx files: pip install onnx, or write a .pt file")
    return {"dynamo": False}

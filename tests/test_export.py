"""An exported step, run without the code of this package, gives the scores of the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from augmem.encoder import MEMORIES, EncoderConfig
from augmem.errors import UserError
from augmem.export import export_step, facts_file
from augmem.model import AcousticModel, ModelDescription

LENGTHS = [301, 37]


@pytest.fixture(scope="module")
def model() -> AcousticModel:
    return make_model(memory_slots=3)


def make_model(**options: Any) -> AcousticModel:
    torch.manual_seed(0)
    encoder = EncoderConfig(
        dim=16, heads=2, feedforward_dim=32, layers=2, frontend_channels=(2, 3), convolution_kernel=3,
        left_context=0.16, centre=0.32, right_context=0.08, **options,
    )  # fmt: skip
    description = ModelDescription(encoder, feature_dim=20, frame_shift=0.01, num_units=7, units_hash="abc")
    return AcousticModel(description, torch.full((20,), 3.0), torch.full((20,), 2.0)).eval()


class OnnxStep:
    """onnxruntime with the interface of a TorchScript module."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        names = [value.name for value in self.session.get_inputs()]
        return [
            torch.from_numpy(v) for v in self.session.run(None, dict(zip(names, map(np.asarray, inputs), strict=True)))
        ]


@pytest.mark.parametrize("name", ["step.pt", "step.onnx"])
def test_exported_steps_equal_the_parallel_form(name: str, model: AcousticModel, tmp_path: Path) -> None:
    check_export(model, tmp_path / name)


@pytest.mark.parametrize("kind", [kind for kind in MEMORIES if kind != "slots"])
def test_steps_of_every_kind_of_memory_are_exported(kind: str, tmp_path: Path) -> None:
    check_export(make_model(memory=kind), tmp_path / "step.onnx")


def check_export(model: AcousticModel, path: Path) -> None:
    export_step(model, path, batch=len(LENGTHS))
    step = torch.jit.load(str(path)) if path.suffix == ".pt" else OnnxStep(path)
    facts = json.loads(facts_file(path).read_text())
    features = torch.randn(len(LENGTHS), max(LENGTHS), 20)
    state = [torch.zeros(v["shape"], dtype=getattr(torch, v["dtype"])) for v in facts["state"].values()]
    chunk, found = facts["chunk_frames"], [[] for _ in LENGTHS]
    with torch.no_grad():
        for number in range(-(-max(LENGTHS) // chunk) + facts["steps_after_the_last_frame"]):
            part = features[:, number * chunk : (number + 1) * chunk]
            part = torch.nn.functional.pad(part, (0, 0, 0, chunk - part.size(1)))
            real = torch.tensor([min(chunk, max(0, length - number * chunk)) for length in LENGTHS])
            scores, count, *state = step(part, real, *state)
            for stream, rows, size in zip(found, scores, count.tolist(), strict=True):
                stream.append(rows[:size])
        whole, frames = model(features, torch.tensor(LENGTHS))
    for mine, row, size in zip(found, whole, frames.tolist(), strict=True):
        torch.testing.assert_close(torch.cat(mine), row[:size], rtol=0, atol=1e-5)


def test_another_file_ending_is_refused(model: AcousticModel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"step\.bin: must end in \.pt or \.onnx"):
        export_step(model, tmp_path / "step.bin")


def test_sizes_out_of_range_are_refused(model: AcousticModel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--batch 0: must be at least 1"):
        export_step(model, tmp_path / "step.pt", batch=0)
    with pytest.raises(UserError, match="--bank-size -1: must be at least 0"):
        export_step(model, tmp_path / "step.pt", bank_size=-1)


def test_an_exporter_without_its_package_is_an_error_with_a_remedy(
    model: AcousticModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(*arguments: object, dynamo: bool = True) -> None:
        raise AssertionError("called without onnx")

    monkeypatch.setattr(torch.onnx, "export", export)
    monkeypatch.setattr("augmem.export.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install onnx, or write a \.pt file"):
        export_step(model, tmp_path / "step.onnx")
    assert not list(tmp_path.iterdir())

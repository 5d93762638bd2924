"""The model that sherpa-onnx reads gives the scores of the acoustic model, in onnxruntime."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from augmem.encoder import MEMORIES, EncoderConfig
from augmem.errors import UserError
from augmem.model import AcousticModel, ModelDescription
from augmem.sherpa import write_int8, write_onnx_model
from augmem.sherpa.onnx_model import SherpaStep, check_packages, replace_gemm

LENGTHS = [301, 37, 128]
BINS = 20
SMALL = EncoderConfig(
    dim=16, heads=2, feedforward_dim=32, layers=2, frontend_channels=(2, 3), convolution_kernel=3,
    left_context=0.16, centre=0.32, right_context=0.08,
)  # fmt: skip


def small_model(encoder: EncoderConfig = SMALL) -> AcousticModel:
    torch.manual_seed(0)
    description = ModelDescription(encoder, feature_dim=BINS, frame_shift=0.01, num_units=7, units_hash="abc")
    return AcousticModel(description, torch.full((BINS,), 3.0), torch.full((BINS,), 2.0)).eval()


@pytest.fixture(scope="module")
def model() -> AcousticModel:
    return small_model()


@pytest.fixture(scope="module")
def path(model: AcousticModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    write_onnx_model(model, folder / "model.onnx")
    return folder / "model.onnx"


def scores_of(path: Path, features: Tensor, lengths: list[int]) -> list[np.ndarray]:
    """Score streams (B, T, F) in one batch, as the description of `SherpaStep` says."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    window, shift = int(facts["T"]), int(facts["decode_chunk_len"])
    inputs, found = session.get_inputs(), [[] for _ in lengths]
    states: list[Any] = [
        np.zeros([len(lengths) if d == "N" else d for d in i.shape], np.int64 if i.name == "steps" else np.float32)
        for i in inputs[1:]
    ]
    missing = next(number for number, value in enumerate(inputs[1:]) if value.name == "missing")
    for begin in range(0, max(lengths), shift):
        part = features[:, begin : begin + window]
        part = torch.nn.functional.pad(part, (0, 0, 0, window - part.size(1)))
        left = np.clip(np.array(lengths) - begin, 1, window)
        states[missing] = (window - left).astype(np.float32)[None, :, None]
        scores, *states = session.run(None, dict(zip([i.name for i in inputs], [part.numpy(), *states], strict=True)))
        for stream, rows, length in zip(found, scores, lengths, strict=True):
            stream.append(rows[: max(0, -(-(length - begin) // 4))])
    return [np.concatenate(rows) for rows in found]


def test_streams_in_one_batch_have_the_scores_of_the_model(model: AcousticModel, path: Path) -> None:
    features = 3 + 2 * torch.randn(len(LENGTHS), max(LENGTHS), BINS)
    with torch.no_grad():
        whole, frames = model(features, torch.tensor(LENGTHS))
    for mine, row, size in zip(scores_of(path, features, LENGTHS), whole, frames.tolist(), strict=True):
        np.testing.assert_allclose(mine, row[:size].numpy(), rtol=0, atol=2e-5)


def test_projections_of_low_rank_are_exported(tmp_path: Path) -> None:
    model = small_model(replace(SMALL, key_value_ranks=(7, 2)))
    write_onnx_model(model, tmp_path / "model.onnx")
    features = 3 + 2 * torch.randn(1, 128, BINS)
    (mine,) = scores_of(tmp_path / "model.onnx", features, [128])
    with torch.no_grad():
        np.testing.assert_allclose(mine, model(features, torch.tensor([128]))[0][0].numpy(), rtol=0, atol=2e-5)
    weights = {tuple(value.dims) for value in onnx.load(str(tmp_path / "model.onnx")).graph.initializer}
    assert weights & {(14, 16), (16, 14)} and weights & {(4, 16), (16, 4)}
    write_int8(tmp_path / "model.onnx", tmp_path / "int8.onnx")
    small = onnx.load(str(tmp_path / "int8.onnx")).graph.initializer
    assert not [value.name for value in small if value.data_type == onnx.TensorProto.FLOAT and len(value.dims) == 2]


def test_products_and_sums_replace_gemm_with_equal_scores(path: Path, tmp_path: Path) -> None:
    replaced = replace_gemm(path)
    assert "Gemm" in {node.op_type for node in onnx.load(str(path)).graph.node}
    assert "Gemm" not in {node.op_type for node in replaced.graph.node}
    onnx.save(replaced, str(tmp_path / "model.onnx"))
    features = torch.randn(1, 200, BINS)
    found, expected = (scores_of(file, features, [200])[0] for file in (tmp_path / "model.onnx", path))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def float_values(path: Path) -> int:
    """Count the float32 weights of an ONNX file."""
    weights = onnx.load(str(path)).graph.initializer
    return sum(math.prod(weight.dims) for weight in weights if weight.data_type == onnx.TensorProto.FLOAT)


def test_int8_is_smaller_and_close(path: Path, tmp_path: Path) -> None:
    write_int8(path, tmp_path / "model.int8.onnx")
    assert float_values(tmp_path / "model.int8.onnx") < 0.3 * float_values(path)
    features = 3 + 2 * torch.randn(1, 200, BINS)
    exact, close = (scores_of(file, features, [200])[0] for file in (path, tmp_path / "model.int8.onnx"))
    assert 0 < np.abs(np.exp(exact) - np.exp(close)).max() < 0.05


def test_an_encoder_without_memory_has_such_a_step(tmp_path: Path) -> None:
    model = small_model(EncoderConfig(**{**SMALL.__dict__, "memory_slots": 0, "left_context": 0.0}))
    write_onnx_model(model, tmp_path / "model.onnx")
    features = torch.randn(1, 100, BINS)
    with torch.no_grad():
        whole, _ = model(features, torch.tensor([100]))
    np.testing.assert_allclose(scores_of(tmp_path / "model.onnx", features, [100])[0], whole[0].numpy(), atol=2e-5)


@pytest.mark.parametrize("kind", [kind for kind in MEMORIES if kind != "slots"])
def test_every_kind_of_memory_has_such_a_step(kind: Any, tmp_path: Path) -> None:
    model, path = small_model(replace(SMALL, memory=kind)), tmp_path / "model.onnx"
    write_onnx_model(model, path)
    test_streams_in_one_batch_have_the_scores_of_the_model(model, path)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augmem.sherpa.onnx_model.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install onnx onnxruntime"):
        check_packages()


def test_other_encoders_are_refused() -> None:
    model = small_model(EncoderConfig(type="lc_blstm", dim=16, heads=2, layers=1, lstm_dim=8, frontend_channels=(2, 2)))
    with pytest.raises(UserError, match=r"encoder\.type: .* not lc_blstm"):
        SherpaStep(model)

"""Models with key and value projections of low rank: equal to truncated ones, saved, exported, packaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from augmem.encoder import ENCODERS, EncoderConfig
from augmem.errors import UserError
from augmem.low_rank import LowRank, reduce_rank
from augmem.model import AcousticModel, ModelDescription
from tests.encoder.small import small_config

PROJECTED = [kind for kind, spec in ENCODERS.items() if "key_value_ranks" not in spec.excluded]


def small_model(config: EncoderConfig) -> AcousticModel:
    torch.manual_seed(2)
    model = AcousticModel(ModelDescription(config, feature_dim=20, frame_shift=0.01, num_units=7, units_hash="a"))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval().double()


def score(model: AcousticModel) -> torch.Tensor:
    features = torch.randn(2, 150, 20, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return model.encoder(features.double(), torch.tensor([150, 61]))[0]


def truncated(model: AcousticModel, ranks: Sequence[int]) -> AcousticModel:
    """Replace the matrices by those of NumPy's truncated decompositions."""
    for layer, rank in zip(model.encoder.layers, ranks, strict=True):
        parts = []
        for matrix in np.split(layer.attention.key_value.weight.detach().numpy(), 2):
            left, values, right = np.linalg.svd(matrix)
            parts.append(left[:, :rank] @ np.diag(values[:rank]) @ right[:rank])
        layer.attention.key_value.weight.data = torch.from_numpy(np.concatenate(parts))
    return model


@pytest.mark.parametrize("kind", PROJECTED)
def test_outputs_are_those_of_truncated_matrices(kind: Any) -> None:
    config = small_config(kind, layers=3)
    model = small_model(config)
    reduced = reduce_rank(model, LowRank(0.8, 0.25)).double()
    ranks = reduced.description.encoder.key_value_ranks
    assert ranks[0] == 6 and ranks[-1] == 2
    assert sum(p.numel() for p in reduced.parameters()) < sum(p.numel() for p in model.parameters())
    assert (score(reduced) - score(model)).abs().max() > 1e-3
    torch.testing.assert_close(score(reduced), score(truncated(model, ranks)), rtol=0, atol=1e-10)


def test_full_rank_leaves_the_model_unchanged() -> None:
    model = small_model(small_config())
    assert reduce_rank(model, LowRank(1.0, 1.0)) is model


def test_reduced_models_are_saved_and_loaded(tmp_path: Path) -> None:
    reduced = reduce_rank(small_model(small_config(layers=3)), LowRank(0.5, 0.25)).float()
    reduced.save(tmp_path / "model.safetensors")
    loaded = AcousticModel.load(tmp_path / "model.safetensors")
    assert loaded.description.encoder == reduced.description.encoder
    assert torch.equal(score(loaded.double()), score(reduced.double()))


@pytest.mark.parametrize("shares", [(0.5, 0.6), (1.1, 0.5), (0.5, 0.0), (0.5, -0.1), (float("nan"), 0.5)])
def test_shares_out_of_range_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(UserError, match=rf"--low-rank {shares[0]:g} {shares[1]:g}: must be the shares .* 0\.5 0\.25"):
        LowRank(*shares)


def test_models_without_such_projections_are_refused() -> None:
    with pytest.raises(UserError, match=r"do not exist: encoder\.type lc_blstm"):
        reduce_rank(small_model(small_config("lc_blstm")), LowRank(0.5, 0.5))
    reduced = reduce_rank(small_model(small_config()), LowRank(0.5, 0.5))
    with pytest.raises(UserError, match="have low rank already"):
        reduce_rank(reduced, LowRank(0.5, 0.5))


def test_ranks_of_a_config_are_checked() -> None:
    for ranks in ((1,), (0, 1), (9, 1), (1.5, 1)):
        wrong: Any = ranks
        with pytest.raises(UserError, match=r"encoder\.key_value_ranks is .*; it must be empty, or a rank from 1 to"):
            replace(small_config(), key_value_ranks=wrong)

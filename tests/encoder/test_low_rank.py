"""Ranks and truncated projections against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from augmem.encoder import choose_ranks, truncate
from augmem.encoder.low_rank import LowRankProjection, make_projection

DIM = 12


def random_weights(layers: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(layers)
    return [torch.randn(2 * DIM, DIM, generator=generator, dtype=torch.float64) for _ in range(layers)]


@pytest.mark.parametrize("rank", [1, 5, 6, 9, 12])
def test_truncated_projections_are_the_best_of_their_rank(rank: int) -> None:
    """From rank 6 on, one matrix is smaller than two."""
    (weight,), bias = random_weights(1), torch.arange(2.0 * DIM, dtype=torch.float64)
    projection = make_projection(DIM, rank).double()
    assert isinstance(projection, nn.Linear if rank >= 6 else LowRankProjection)
    projection.load_state_dict(truncate(weight, bias, rank))
    expected = []
    for matrix in np.split(weight.numpy(), 2):
        left, values, right = np.linalg.svd(matrix)
        expected.append(left[:, :rank] @ np.diag(values[:rank]) @ right[:rank])
    wanted = torch.from_numpy(np.concatenate(expected))
    torch.testing.assert_close(projection.weight, wanted, rtol=0, atol=1e-12)
    rows = torch.randn(4, DIM, dtype=torch.float64)
    torch.testing.assert_close(projection(rows), rows @ wanted.t() + bias, rtol=0, atol=1e-11)
    if rank == DIM:
        assert torch.equal(projection.weight, weight)


def test_ranks_fall_with_the_cumulative_condition_number() -> None:
    weights = random_weights(4)
    numbers = [np.prod([np.linalg.cond(matrix) for matrix in np.split(weight.numpy(), 2)]) for weight in weights]
    logs = np.log([np.prod(numbers[layer:]) for layer in range(4)])
    shares = 0.9 * (1 - (logs.max() - logs) / (logs.max() - logs.min()) * (1 - 0.25 / 0.9))
    assert choose_ranks(weights, 0.9, 0.25) == tuple(np.rint(shares * DIM).astype(int).tolist())


def test_a_singular_projection_and_a_single_layer_have_ranks() -> None:
    assert choose_ranks([torch.zeros(2 * DIM, DIM)], 0.5, 0.01) == (6,)
    assert choose_ranks([torch.zeros(2 * DIM, DIM), torch.ones(2 * DIM, DIM)], 0.5, 0.01) == (6, 1)

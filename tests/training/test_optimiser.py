"""Scaling and clipping of gradients against torch's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from augmem.training.optimiser import scale_and_clip


@pytest.mark.parametrize("limit", [0.01, 100.0])
def test_scaled_gradients_are_clipped_as_by_torch(limit: float) -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2), nn.Linear(2, 2))
    ours[:2](torch.randn(5, 4)).square().sum().backward()  # the last layer gets no gradient
    theirs = copy.deepcopy(ours)
    for before, after in zip(ours.parameters(), theirs.parameters(), strict=True):
        after.grad = torch.zeros_like(after) if before.grad is None else 0.1 * before.grad
    norm = nn.utils.clip_grad_norm_(theirs.parameters(), limit)
    assert scale_and_clip(ours, 0.1, limit) == pytest.approx(float(norm))
    for mine, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, expected.grad)

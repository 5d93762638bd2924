"""Dropout: rate and mean."""

from __future__ import annotations

import pytest
import torch

from augmem.encoder.dropout import Dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.999])
def test_dropout_has_its_rate_and_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(1003, 301)
    y = Dropout(rate)(x)
    assert (y == 0).double().mean().item() == pytest.approx(rate, abs=0.005)
    assert y.mean().item() == pytest.approx(1, abs=0.1 if rate == 0.999 else 0.01)
    assert torch.equal(Dropout(rate).eval()(x), x)

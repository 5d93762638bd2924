"""Layers that recompute inner values have the same gradients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from augmem.encoder import build_encoder
from tests.encoder.small import small_config

SMALL = small_config()


@pytest.mark.parametrize("kind", ["augmented_memory", "full_context"])
def test_recomputed_layers_give_the_same_gradients(kind: Any) -> None:
    """With dropout and layer drop: both computations must use the same masks."""
    config = small_config(kind, dropout=0.3, layer_drop=0.3)
    features, lengths = torch.randn(2, 150, 5).double(), torch.tensor([150, 61])
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(1)
        encoder = build_encoder(replace(config, recompute_layers=recompute), 5, 0.01).double()
        encoder(features, lengths)[0].square().sum().backward()
        gradients.append([torch.zeros_like(p) if p.grad is None else p.grad for p in encoder.parameters()])
    assert any(gradient.any() for gradient in gradients[0])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_sliced_feed_forward_blocks_give_the_same_gradients() -> None:
    torch.manual_seed(1)
    config = replace(SMALL, dropout=0.0)
    features, lengths = torch.randn(2, 150, 5).double(), torch.tensor([150, 61])
    gradients = []
    for slices in (1, 4):
        encoder = build_encoder(replace(config, feedforward_slices=slices), 5, 0.01).double()
        for number, parameter in enumerate(encoder.parameters()):
            torch.manual_seed(number)
            parameter.data.copy_(0.3 * torch.randn_like(parameter))
        encoder(features, lengths)[0].square().sum().backward()
        gradients.append([torch.zeros_like(p) if p.grad is None else p.grad for p in encoder.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)

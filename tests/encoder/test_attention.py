"""The equations of the paper for one layer; weak-attention suppression."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from augmem.encoder import build_encoder
from augmem.encoder.attention import AttentionWeights
from augmem.encoder.augmented_memory import AugmentedMemoryEncoder
from tests.encoder.small import small_config

SMALL = small_config()


def heads_of(x: Tensor, heads: int) -> Tensor:
    return x.view(x.size(0), heads, -1).transpose(0, 1)


def test_one_layer_follows_the_equations() -> None:
    """The equations of the paper, segment by segment, in plain torch."""
    torch.manual_seed(0)
    encoder = build_encoder(replace(SMALL, layers=1), 5, 0.01).double()
    assert isinstance(encoder, AugmentedMemoryEncoder)
    features = torch.randn(1, 50, 5).double()
    frames = encoder.frontend(features, torch.tensor([50]))
    layer = encoder.layers[0]
    attention, total = layer.attention, frames.size(0)
    bank: list[Tensor] = []
    outputs: list[Tensor] = []
    for start in range(0, total, 4):
        left, end = max(0, start - 3), min(start + 4, total)
        block = frames[left : min(end + 2, total)]
        h = layer.attention_norm(block)
        centre = slice(start - left, end - left)
        queries = attention.query(torch.cat([h, h[centre].mean(0, keepdim=True)]))
        keys, values = attention.key_value(torch.cat([*bank, h])).chunk(2, 1)
        q, k, v = (heads_of(x, 2) for x in (queries, keys, values))
        z = F.softmax(q @ k.transpose(1, 2) / 2.0, -1) @ v  # head width 4
        z = attention.output(z.transpose(0, 1).flatten(1))
        bank.append(z[-1:])
        x = block + z[:-1]
        outputs.append(encoder.norm(x + layer.feedforward(layer.feedforward_norm(x)))[centre])
    hidden, _ = encoder(features, torch.tensor([50]))
    torch.testing.assert_close(hidden[0], torch.cat(outputs), rtol=0, atol=1e-12)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.integers(0, 3), st.floats(0, 2))
def test_suppression_follows_the_paper(row: list[float], masked: int, gamma: float) -> None:
    """Against the statistics module; masked columns have no effect."""
    scores = torch.tensor([*row, *[float("-inf")] * masked], dtype=torch.float64)
    weights = scores[: len(row)].softmax(0).tolist()
    deviation = statistics.stdev(weights) if len(row) > 1 else 0.0
    threshold = statistics.mean(weights) - gamma * deviation
    if any(abs(weight - threshold) < 1e-9 for weight in weights):
        return  # rounding decides
    kept = [math.exp(score) if weight >= threshold else 0.0 for score, weight in zip(row, weights, strict=True)]
    expected = torch.tensor([*(value / sum(kept) for value in kept), *[0.0] * masked], dtype=torch.float64)
    torch.testing.assert_close(AttentionWeights(gamma)(scores), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_equal_weights_are_never_all_weak(dtype: torch.dtype, gamma: float) -> None:
    for columns in range(1, 200):
        weights = AttentionWeights(gamma)(torch.zeros(columns, dtype=dtype))
        torch.testing.assert_close(weights, torch.full_like(weights, 1 / columns))

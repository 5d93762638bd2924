"""The step of fixed shapes gives what the parallel form gives, in eager mode, as TorchScript and as ONNX."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from augmem.encoder import EncoderConfig, StaticStep, build_encoder
from tests.encoder.test_streaming import FEATURES, SHIFT, configs, encoder_of


def outputs(step: Any, static: StaticStep, features: Tensor, lengths: list[int]) -> list[Tensor]:
    """Outputs of each stream of `features` (B, T, F)."""
    chunk, values = static.chunk_frames, list(static.init_state().values())
    found: list[list[Tensor]] = [[] for _ in lengths]
    for number in range(-(-max(lengths) // chunk) + static.delay):
        part = features[:, number * chunk : (number + 1) * chunk]
        part = torch.nn.functional.pad(part, (0, 0, 0, chunk - part.size(1)))
        real = torch.tensor([min(chunk, max(0, length - number * chunk)) for length in lengths])
        hidden, count, *values = step(part, real, *values)
        for stream, rows, size in zip(found, hidden, count.tolist(), strict=True):
            stream.append(rows[:size])
    return [torch.cat(rows) for rows in found]


@settings(max_examples=60, deadline=None)
@given(configs(), st.lists(st.integers(1, 90), min_size=1, max_size=3))
def test_equals_the_parallel_form(config: EncoderConfig, lengths: list[int]) -> None:
    encoder = encoder_of(config)
    static = StaticStep(encoder, len(lengths), slots=90 if config.memory_slots is None else None)
    features = torch.randn(len(lengths), max(lengths), FEATURES, dtype=torch.float64)
    parallel, frames = encoder(features, torch.tensor(lengths))
    with torch.no_grad():
        for mine, row, size in zip(outputs(static, static, features, lengths), parallel, frames, strict=True):
            torch.testing.assert_close(mine, row[:size], rtol=0, atol=1e-10)


def test_an_unbounded_bank_wants_a_bound() -> None:
    encoder = build_encoder(EncoderConfig(dim=8, heads=1, layers=1), FEATURES, SHIFT)
    with pytest.raises(ValueError, match="say how many slots"):
        StaticStep(encoder)
    rival = build_encoder(EncoderConfig(dim=8, heads=1, layers=1, type="emformer"), FEATURES, SHIFT)
    with pytest.raises(ValueError, match=r"encoder\.type emformer"):
        StaticStep(rival, slots=3)

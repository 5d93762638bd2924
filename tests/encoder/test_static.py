"""The step with fixed shapes equals the parallel form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from augmem.encoder import EncoderConfig, StaticStep, build_encoder
from augmem.errors import UserError
from tests.encoder.small import BASELINES, FEATURES, RIVALS, SHIFT, configs, random_encoder, small_config


def outputs(step: Any, static: StaticStep, features: Tensor, lengths: list[int]) -> list[Tensor]:
    """Return the outputs of each stream of `features` (B, T, F)."""
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
    encoder = random_encoder(config)
    static = StaticStep(encoder, len(lengths), bank_size=90 if config.memory_slots is None else None)
    features = torch.randn(len(lengths), max(lengths), FEATURES, dtype=torch.float64)
    parallel, frames = encoder(features, torch.tensor(lengths))
    with torch.no_grad():
        for mine, row, size in zip(outputs(static, static, features, lengths), parallel, frames, strict=True):
            torch.testing.assert_close(mine, row[:size], rtol=0, atol=1e-10)


def test_unlimited_bank_needs_a_size() -> None:
    with pytest.raises(UserError, match="--bank-size: required"):
        StaticStep(build_encoder(small_config(), FEATURES, SHIFT))


@pytest.mark.parametrize("kind", [*BASELINES, *RIVALS])
def test_other_encoders_are_refused(kind: str) -> None:
    with pytest.raises(UserError, match=rf"encoder\.type: .* not {kind}"):
        StaticStep(build_encoder(small_config(kind), FEATURES, SHIFT), bank_size=3)

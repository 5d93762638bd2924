"""The step over windows equals the parallel form, and the streaming form whose memory is reset."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from augmem.encoder import EncoderConfig, WindowStep, build_encoder
from augmem.errors import UserError
from tests.encoder.small import FEATURES, SHIFT, configs, random_encoder, small_config


def outputs(step: WindowStep, features: Tensor, lengths: list[int]) -> list[Tensor]:
    """Return the outputs of each stream of `features` (B, T, F); a stream leaves the batch when it ends."""
    shift, width, size = step.encoder.chunk_frames, step.window_frames, step.encoder.subsampling
    values, found = list(step.init_state(len(lengths)).values()), [[] for _ in lengths]
    alive = torch.arange(len(lengths))
    for number, begin in enumerate(range(0, max(lengths), shift)):
        kept = torch.tensor([length > begin for length in lengths])[alive]
        alive, values = alive[kept], [value[kept] for value in values]
        window = features[alive, begin : begin + width]
        window = torch.nn.functional.pad(window, (0, 0, 0, width - window.size(1)), value=9.0)
        left = torch.tensor(lengths)[alive] - begin
        hidden, *values = step(window, left.clamp(max=width), torch.full_like(alive, number), *values)
        for stream, rows, remaining in zip(alive.tolist(), hidden, left.tolist(), strict=True):
            found[stream].append(rows[: -(-remaining // size)])
    return [torch.cat(rows) for rows in found]


@settings(max_examples=12, deadline=None)
@given(configs(), st.lists(st.integers(1, 90), min_size=1, max_size=3))
def test_equals_the_parallel_form(config: EncoderConfig, lengths: list[int]) -> None:
    encoder = random_encoder(config)
    features = torch.randn(len(lengths), max(lengths), FEATURES, dtype=torch.float64)
    parallel, frames = encoder(features, torch.tensor(lengths))
    with torch.no_grad():
        found = outputs(WindowStep(encoder, memory_reset=91), features, lengths)
    for mine, row, size in zip(found, parallel, frames, strict=True):
        torch.testing.assert_close(mine, row[:size], rtol=0, atol=1e-10)


@pytest.mark.parametrize("slots", [None, 2])
def test_memory_is_reset_as_in_streams(slots: int | None) -> None:
    encoder = random_encoder(small_config(memory_slots=slots))
    step = WindowStep(encoder, memory_reset=3)
    features = torch.randn(1, step.window_frames + 7 * encoder.chunk_frames, FEATURES, dtype=torch.float64)
    state, expected = encoder.init_state(1), []
    with torch.no_grad():
        for chunk in (
            features[:, : step.window_frames],
            *features[:, step.window_frames :].split(encoder.chunk_frames, 1),
        ):
            hidden, state = encoder.step(chunk, state)
            state = state.limit_memory(3)
            expected.append(hidden[0])
        found = outputs(step, features, [features.size(1)])[0]
    torch.testing.assert_close(found[: 8 * encoder.centre], torch.cat(expected), rtol=0, atol=1e-10)


def test_other_encoders_are_refused() -> None:
    with pytest.raises(UserError, match=r"encoder\.type: .* not emformer"):
        WindowStep(build_encoder(small_config("emformer"), FEATURES, SHIFT), memory_reset=3)

"""Alignment of neighbouring segments: rows of the same frame are averaged, in streams as in whole utterances."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augmem.encoder import EncoderConfig, StaticStep, StreamState, WindowStep
from augmem.encoder.alignment import previous_rows
from augmem.encoder.segments import plan_segments
from augmem.errors import UserError
from tests.encoder.small import FEATURES, configs, random_encoder, small_config
from tests.encoder.test_streaming import stream


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=3),
    st.integers(0, 9), st.integers(1, 5), st.integers(0, 7),
)  # fmt: skip
def test_rows_are_found_by_their_frame(lengths: list[int], left: int, centre: int, right: int) -> None:
    plan = plan_segments(torch.tensor(lengths), left, centre, right)
    block, _ = plan.blocks.all.coordinates()
    ranks, segments = plan.ranks[block].tolist(), plan.segments[block].tolist()
    keys = list(zip(ranks, segments, plan.blocks.source.tolist(), strict=True))
    row_of = {key: row for row, key in enumerate(keys)}
    expected = [row_of.get((rank, segment - 1, frame), row) for row, (rank, segment, frame) in enumerate(keys)]
    assert previous_rows(plan).tolist() == expected


@settings(max_examples=30, deadline=None)
@given(configs(), st.integers(1, 90), st.lists(st.integers(1, 40), min_size=1, max_size=3))
def test_streaming_equals_parallel(config: EncoderConfig, time: int, sizes: list[int]) -> None:
    encoder = random_encoder(replace(config, align_segments=True))
    features = torch.randn(2, time, FEATURES, dtype=torch.float64)
    parallel, _ = encoder(features, torch.full((2,), time))
    torch.testing.assert_close(stream(encoder, features, sizes), parallel, rtol=0, atol=1e-10)


def test_streams_of_different_age_share_a_step() -> None:
    encoder = random_encoder(small_config(align_segments=True))
    features = torch.randn(2, 150, FEATURES, dtype=torch.float64)
    _, old = encoder.step(features[:1, :70], encoder.init_state(1))
    state = StreamState.join([old.limit_memory(99), encoder.init_state(1)])
    hidden, state = encoder.step(torch.stack([features[0, 70:], features[1, :80]]), state, True)
    expected = [encoder(features[:1], torch.tensor([150]))[0][0], encoder(features[1:, :80], torch.tensor([80]))[0][0]]
    for row, whole, count in zip(hidden, expected, state.emitted.tolist(), strict=True):
        torch.testing.assert_close(row[:count], whole[-count:], rtol=0, atol=1e-10)


def test_alignment_changes_outputs_of_later_segments_only() -> None:
    config = small_config()
    features, lengths = torch.randn(1, 150, FEATURES, dtype=torch.float64), torch.tensor([150])
    plain, aligned = (random_encoder(replace(config, align_segments=on))(features, lengths)[0] for on in (False, True))
    torch.testing.assert_close(plain[:, :4], aligned[:, :4], rtol=0, atol=0)
    assert float((plain - aligned)[:, 4:].abs().max()) > 1e-3


def test_exported_steps_refuse_alignment() -> None:
    encoder = random_encoder(small_config(align_segments=True, memory_slots=2))
    with pytest.raises(UserError, match=r"encoder\.align_segments is True; it must be false"):
        StaticStep(encoder)
    with pytest.raises(UserError, match=r"encoder\.align_segments is True; it must be false"):
        WindowStep(encoder, 3)

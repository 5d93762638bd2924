"""Streaming in chunks of any size equals the parallel form, values and gradients, for all options."""

from __future__ import annotations

import random

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from augmem.encoder import Encoder, EncoderConfig, StreamState
from tests.encoder.small import FEATURES, STREAMING, configs, random_encoder


def stream(encoder: Encoder, features: Tensor, sizes: list[int]) -> Tensor:
    """Return the outputs of `features` (B, T, F) in chunks that cycle through `sizes`."""
    state, outputs, at, turn = encoder.init_state(features.size(0)), [], 0, 0
    while at < features.size(1):
        size = sizes[turn % len(sizes)]
        hidden, state = encoder.step(features[:, at : at + size], state, False)
        outputs.append(hidden)
        at, turn = at + size, turn + 1
    hidden, state = encoder.step(features[:, :0], state, True)
    return torch.cat([*outputs, hidden], 1)


@settings(max_examples=100, deadline=None)
@given(
    configs(("augmented_memory", *STREAMING)),
    st.integers(1, 90),
    st.lists(st.integers(1, 40), min_size=1, max_size=3),
    st.integers(1, 2),
)
def test_streaming_equals_parallel(config: EncoderConfig, time: int, sizes: list[int], batch: int) -> None:
    encoder = random_encoder(config)
    features = torch.randn(batch, time, FEATURES, dtype=torch.float64)
    parallel, lengths = encoder(features, torch.full((batch,), time))
    streamed = stream(encoder, features, sizes)
    assert lengths.tolist() == [-(-time // config.subsampling)] * batch
    assert streamed.shape == parallel.shape
    torch.testing.assert_close(streamed, parallel, rtol=0, atol=1e-10)


@settings(max_examples=30, deadline=None)
@given(configs(STREAMING), st.integers(1, 90), st.lists(st.integers(1, 40), min_size=1, max_size=3))
def test_streaming_equals_parallel_in_single_precision(config: EncoderConfig, time: int, sizes: list[int]) -> None:
    if config.weak_attention_suppression is not None:
        return  # a threshold turns rounding into a jump
    encoder = random_encoder(config, torch.float32)
    features = torch.randn(1, time, FEATURES)
    parallel, _ = encoder(features, torch.tensor([time]))
    torch.testing.assert_close(stream(encoder, features, sizes), parallel, rtol=0, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(configs(STREAMING), st.integers(1, 70))
def test_gradients_of_both_forms_agree(config: EncoderConfig, time: int) -> None:
    encoder = random_encoder(config)
    features = torch.randn(1, time, FEATURES, dtype=torch.float64)
    probe = torch.randn(1, -(-time // config.subsampling), config.dim, dtype=torch.float64)
    gradients = []
    for hidden in (
        encoder(features, torch.tensor([time]))[0],
        stream(encoder, features, [encoder.chunk_frames]),
    ):
        encoder.zero_grad()
        (hidden * probe).sum().backward()
        gradients.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in encoder.parameters()])
    for parallel, segmental in zip(*gradients, strict=False):
        torch.testing.assert_close(parallel, segmental, rtol=1e-8, atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(
    configs(("full_context", *STREAMING)),
    st.lists(st.integers(1, 60), min_size=2, max_size=5),
)
def test_padding_does_not_change_outputs(config: EncoderConfig, lengths: list[int]) -> None:
    encoder = random_encoder(config)
    features = torch.full((len(lengths), max(lengths) + 3, FEATURES), float("nan"), dtype=torch.float64)
    for row, length in zip(features, lengths, strict=False):
        row[:length] = torch.randn(length, FEATURES)
    together, out = encoder(features, torch.tensor(lengths))
    for row, length, hidden, size in zip(features, lengths, together, out.tolist(), strict=False):
        alone, _ = encoder(row[None, :length], torch.tensor([length]))
        torch.testing.assert_close(hidden[:size], alone[0], rtol=0, atol=1e-10)
        assert not hidden[size:].any()


@settings(max_examples=40, deadline=None)
@given(
    configs(STREAMING),
    st.lists(st.integers(1, 50), min_size=2, max_size=4),
    st.integers(1, 40),
    st.randoms(use_true_random=False),
)
def test_joined_streams_are_independent(
    config: EncoderConfig, before: list[int], common: int, chance: random.Random
) -> None:
    """Streams of any age, joined in any order, one of them new: each has the outputs that it has alone."""
    encoder = random_encoder(config)
    features = [torch.randn(1, length + common, FEATURES, dtype=torch.float64) for length in before]
    with torch.no_grad():
        states = [
            encoder.step(own[:, :length], encoder.init_state(1))[1]
            for own, length in zip(features, before, strict=True)
        ]
        states[0] = encoder.init_state(1)
        order = chance.sample(range(len(before)), len(before))
        state = StreamState.join(states).select(torch.tensor(order))
        chunk = torch.cat([features[n][:, before[n] :] for n in order])
        hidden, state = encoder.step(chunk, state, True)
        for row, n in enumerate(order):
            expected, alone = encoder.step(features[n][:, before[n] :], states[n], True)
            count = int(alone.emitted)
            assert int(state.emitted[row]) == count
            torch.testing.assert_close(hidden[row, :count], expected[0], rtol=0, atol=1e-10)

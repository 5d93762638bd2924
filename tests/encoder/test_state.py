"""Streaming states: joined, split, reordered, saved; bounded in size."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from augmem.encoder import Encoder, StreamState, build_encoder
from tests.encoder.small import STREAMING, small_config


def small(kind: Any, slots: int | None = 2) -> Encoder:
    torch.manual_seed(0)
    return build_encoder(small_config(kind, feedforward_dim=8, memory_slots=slots), 5, 0.01).double()


def run(encoder: Encoder, state: StreamState, chunks: list[Tensor]) -> tuple[Tensor, StreamState]:
    """Stream chunks; return the outputs of one stream or of streams that started together."""
    outputs = []
    for chunk in chunks:
        hidden, state = encoder.step(chunk, state)
        outputs.append(hidden)
    return torch.cat(outputs, 1), state


@pytest.mark.parametrize("kind", STREAMING)
@pytest.mark.parametrize("slots", [2, None])
def test_streams_that_started_at_different_times_share_a_step(kind: str, slots: int | None) -> None:
    encoder = small(kind, slots)
    old, young = torch.randn(1, 200, 5).double(), torch.randn(1, 53, 5).double()
    _, old_state = run(encoder, encoder.init_state(1), [old[:, :147]])
    before = [tensor.clone() for tensor in old_state.tensors()]
    state = StreamState.join([old_state, encoder.init_state(1)])
    hidden, state = encoder.step(torch.cat([old[:, 147:], young]), state, True)
    for row, (whole, skipped) in enumerate(((old, int(old_state.emitted)), (young, 0))):
        expected, _ = encoder(whole, torch.tensor([whole.size(1)]))
        count = int(state.emitted[row])
        torch.testing.assert_close(hidden[row, :count], expected[0, skipped:], rtol=0, atol=1e-10)
        assert not hidden[row, count:].any()
    assert all(map(torch.equal, before, old_state.tensors())), "a step does not modify its state"


@pytest.mark.parametrize("slots", [2, None])
def test_streams_with_limited_memory_share_a_step(slots: int | None) -> None:
    """Banks are reset at different times, so that one is empty where another is full."""
    encoder, limit = small("augmented_memory", slots), 3
    streams = [torch.randn(1, 400, 5).double() for _ in range(3)]

    def steps(state: StreamState, pieces: list[Tensor]) -> tuple[list[Tensor], StreamState]:
        outputs = []
        for piece in pieces:
            hidden, state = encoder.step(piece, state)
            state = StreamState.join([stream.limit_memory(limit) for stream in state.split()])
            outputs.append(hidden)
        return outputs, state

    size, late = encoder.chunk_frames, (0, 1, 2)  # chunks of each stream before the streams are joined
    alone = [torch.cat(steps(encoder.init_state(1), list(stream.split(size, 1)))[0], 1) for stream in streams]
    begun = [steps(encoder.init_state(1), list(s[:, : n * size].split(size, 1)))[1] if n else encoder.init_state(1)
             for s, n in zip(streams, late, strict=True)]  # fmt: skip
    rest = [stream[:, n * size : (n + 9) * size].split(size, 1) for stream, n in zip(streams, late, strict=True)]
    together, state = steps(StreamState.join(begun), [torch.cat(pieces) for pieces in zip(*rest, strict=True)])
    assert len(set(state.recurrent.count.tolist())) > 1  # type: ignore[attr-defined]
    for row, hidden in enumerate(alone):
        found = torch.cat([piece[row] for piece in together[1:]])  # the first chunk of a stream waits for the second
        torch.testing.assert_close(found, hidden[0, : (late[row] + 8) * encoder.centre][-len(found) :])


def test_limited_memory_stays_finite() -> None:
    """Slots are made of attended slots, each larger than those that it is made of."""
    encoder = small("augmented_memory", None)
    for layer in encoder.layers:
        layer.attention.key_value.weight.data *= 8
        layer.attention.output.weight.data *= 8
    chunks = list(torch.randn(1, encoder.chunk_frames * 150, 5).double().split(encoder.chunk_frames, 1))

    def largest(limit: int) -> float:
        state = encoder.init_state(1)
        for chunk in chunks:
            state = encoder.step(chunk, state)[1].limit_memory(limit)
        return float(state.recurrent.values.abs().max())  # type: ignore[attr-defined]

    assert not largest(10**6) < 1e30  # unlimited memory
    assert largest(8) < 1e15


def test_emformer_keeps_the_newest_slots() -> None:
    encoder = small("emformer", None)
    state = encoder.init_state(1)
    for chunk in torch.randn(1, encoder.chunk_frames * 9, 5).double().split(encoder.chunk_frames, 1):
        _, state = encoder.step(chunk, state)
    limited = state.limit_memory(3)
    torch.testing.assert_close(limited.recurrent.bank.values, state.recurrent.bank.values[:, :, :, :, -3:])  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", STREAMING)
def test_bounded_state_never_grows(kind: str) -> None:
    encoder = small(kind)
    state = encoder.init_state(2)
    shapes = [tensor.shape for tensor in state.tensors()]
    for _ in range(12):
        _, state = encoder.step(torch.randn(2, 17, 5).double(), state)
        assert [tensor.shape for tensor in state.tensors()] == shapes


@pytest.mark.parametrize("kind", STREAMING)
def test_states_can_be_saved_split_and_reordered(kind: str) -> None:
    encoder = small(kind)
    features, more = torch.randn(3, 61, 5).double(), torch.randn(3, 70, 5).double()
    _, state = run(encoder, encoder.init_state(3), [features])
    expected, _ = encoder.step(more, state)
    selected, number = state.select(torch.tensor([2, 0])), count()
    stored = load(save({str(n): tensor for n, tensor in enumerate(selected.tensors())}))
    again, _ = encoder.step(more[[2, 0]], selected.map(lambda _: stored[str(next(number))]))
    torch.testing.assert_close(again, expected[[2, 0]], rtol=0, atol=1e-12)
    joined, _ = encoder.step(more, StreamState.join(state.split()))
    torch.testing.assert_close(joined, expected, rtol=0, atol=0)
    single = state.map(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)
    assert {tensor.dtype for tensor in single.tensors()} == {torch.float32, torch.int64}


@pytest.mark.parametrize("kind", STREAMING)
def test_outputs_depend_on_the_stated_look_ahead(kind: str) -> None:
    """Gradients reach exactly to the end of the segment of a frame plus the look-ahead."""
    encoder = small(kind)
    time = 240
    features = torch.randn(1, time, 5).double().requires_grad_()
    hidden, _ = encoder(features, torch.tensor([time]))
    reach = 0
    for frame in range(8, 40, 3):
        (gradient,) = torch.autograd.grad(hidden[0, frame].square().sum(), features, retain_graph=True)
        last = int(gradient[0].abs().sum(1).nonzero().max())
        segment_end = frame + 1 if kind in ("time_restricted", "conv_transformer") else (frame // 4 + 1) * 4
        limit = segment_end * 4 + round(encoder.look_ahead / 0.01)
        assert last < limit
        reach = max(reach, last - limit + 1)
    assert reach == 0


def test_whole_utterance_encoders_refuse_to_stream() -> None:
    encoder = small("full_context")
    with pytest.raises(NotImplementedError, match="full_context"):
        encoder.init_state(1)
    with pytest.raises(NotImplementedError, match="full_context"):
        encoder.step(torch.zeros(1, 4, 5), small("lc_blstm").init_state(1))
    assert encoder.look_ahead == float("inf")


def test_wrong_shapes_are_refused() -> None:
    encoder = small("augmented_memory")
    with pytest.raises(ValueError, match="features"):
        encoder(torch.zeros(1, 4, 6), torch.tensor([4]))
    with pytest.raises(ValueError, match="lengths"):
        encoder(torch.zeros(1, 4, 5), torch.tensor([5]))
    with pytest.raises(ValueError, match="batch"):
        encoder.init_state(0)
    with pytest.raises(ValueError, match="chunk"):
        encoder.step(torch.zeros(2, 4, 5), encoder.init_state(1))

"""Streams share a step: stacked, split, put in order, saved, reset; and the state stays flat and bounded."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor

from augmem.encoder import (
    Encoder,
    EncoderConfig,
    build_encoder,
    forget_if_full,
    reset_streams,
    select_streams,
    stack_states,
)

TYPES = ["augmented_memory", "emformer", "transformer_xl", "time_restricted", "lc_blstm"]


def small(kind: Any, slots: int | None = 2) -> Encoder:
    torch.manual_seed(0)
    config = EncoderConfig(
        type=kind, dim=8, heads=2, feedforward_dim=8, layers=2, dropout=0.0, frontend_channels=(2, 2),
        left_context=0.12, centre=0.16, right_context=0.08, memory_slots=slots,
    )  # fmt: skip
    return build_encoder(config, 5, 0.01).double()


def run(encoder: Encoder, state: dict[str, Tensor], chunks: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Stream chunks; outputs of one stream or of streams in step."""
    outputs = []
    for chunk in chunks:
        hidden, state = encoder.step(chunk, state)
        outputs.append(hidden)
    return torch.cat(outputs, 1), state


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("slots", [2, None])
def test_streams_started_apart_share_a_step(kind: str, slots: int | None) -> None:
    encoder = small(kind, slots)
    old, young = torch.randn(1, 200, 5).double(), torch.randn(1, 53, 5).double()
    _, old_state = run(encoder, encoder.init_state(1), [old[:, :147]])
    both, state = old_state, stack_states([old_state, encoder.init_state(1)])
    hidden, state = encoder.step(torch.cat([old[:, 147:], young]), state, True)
    for row, (whole, skipped) in enumerate(((old, int(old_state["emitted"])), (young, 0))):
        expected, _ = encoder(whole, torch.tensor([whole.size(1)]))
        count = int(state["emitted"][row])
        torch.testing.assert_close(hidden[row, :count], expected[0, skipped:], rtol=0, atol=1e-10)
        assert not hidden[row, count:].any()
    assert both is old_state  # a step does not touch the state it was given


@pytest.mark.parametrize("slots", [2, None])
def test_streams_that_forget_share_a_step(slots: int | None) -> None:
    """Their memories are full at different times, so that one holds nothing where another holds much."""
    encoder, limit = small("augmented_memory", slots), 3
    streams = [torch.randn(1, 400, 5).double() for _ in range(3)]

    def forgetting(state: dict[str, Tensor]) -> dict[str, Tensor]:
        rows = [select_streams(state, torch.tensor([row])) for row in range(state["frames"].size(0))]
        return stack_states([forget_if_full(row, limit) for row in rows])

    def steps(state: dict[str, Tensor], pieces: list[Tensor]) -> tuple[list[Tensor], dict[str, Tensor]]:
        outputs = []
        for piece in pieces:
            hidden, state = encoder.step(piece, state)
            state = forgetting(state)
            outputs.append(hidden)
        return outputs, state

    size, late = encoder.chunk_frames, (0, 1, 2)  # chunks each begins before the others join
    alone = [torch.cat(steps(encoder.init_state(1), list(stream.split(size, 1)))[0], 1) for stream in streams]
    begun = [steps(encoder.init_state(1), list(s[:, : n * size].split(size, 1)))[1] if n else encoder.init_state(1)
             for s, n in zip(streams, late, strict=True)]  # fmt: skip
    rest = [stream[:, n * size : (n + 9) * size].split(size, 1) for stream, n in zip(streams, late, strict=True)]
    together, state = steps(stack_states(begun), [torch.cat(pieces) for pieces in zip(*rest, strict=True)])
    assert len(set(state["remembered"].tolist())) > 1
    for row, hidden in enumerate(alone):
        found = torch.cat([piece[row] for piece in together[1:]])  # the first chunk of a stream waits for the second
        torch.testing.assert_close(found, hidden[0, : (late[row] + 8) * encoder.centre][-len(found) :])


def test_what_a_memory_makes_of_itself_stays_finite() -> None:
    """Slots made of slots that are attended to, each larger than what it is made of."""
    encoder = small("augmented_memory", None)
    for layer in encoder.layers:
        layer.attention.key_value.weight.data *= 8
        layer.attention.output.weight.data *= 8
    chunks = list(torch.randn(1, encoder.chunk_frames * 150, 5).double().split(encoder.chunk_frames, 1))

    def largest(limit: int) -> float:
        state = encoder.init_state(1)
        for chunk in chunks:
            state = forget_if_full(encoder.step(chunk, state)[1], limit)
        return float(state["memory"].abs().max())

    assert not largest(10**6) < 1e30  # the model's own, unbounded memory
    assert largest(8) < 1e15


@pytest.mark.parametrize("kind", TYPES)
def test_bounded_state_never_grows(kind: str) -> None:
    encoder = small(kind)
    state = encoder.init_state(2)
    shapes = {name: value.shape for name, value in state.items()}
    for _ in range(12):
        _, state = encoder.step(torch.randn(2, 17, 5).double(), state)
        assert {name: value.shape for name, value in state.items()} == shapes


@pytest.mark.parametrize("kind", TYPES)
def test_states_can_be_saved_split_reordered_and_reset(kind: str) -> None:
    encoder = small(kind)
    features, more = torch.randn(3, 61, 5).double(), torch.randn(3, 70, 5).double()
    _, state = run(encoder, encoder.init_state(3), [features])
    expected, _ = encoder.step(more, state)
    file = io.BytesIO()
    torch.save(select_streams(state, torch.tensor([2, 0])), file)
    file.seek(0)
    again, _ = encoder.step(more[[2, 0]], torch.load(file))
    torch.testing.assert_close(again, expected[[2, 0]], rtol=0, atol=1e-12)

    fresh, _ = encoder.step(more, encoder.init_state(3))
    mixed, after = encoder.step(more, reset_streams(state, torch.tensor([1])))
    for row, source in enumerate((expected, fresh, expected)):
        count = int(after["emitted"][row])
        torch.testing.assert_close(mixed[row, :count], source[row, :count], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", TYPES)
def test_outputs_depend_on_no_more_future_than_promised(kind: str) -> None:
    """Perturb the future beyond a frame's segment and look-ahead: it must not change; the promise is also
    reached."""
    encoder = small(kind)
    time = 240
    features = torch.randn(1, time, 5).double().requires_grad_()
    hidden, _ = encoder(features, torch.tensor([time]))
    reach = 0
    for frame in range(8, 40, 3):
        (gradient,) = torch.autograd.grad(hidden[0, frame].square().sum(), features, retain_graph=True)
        last = int(gradient[0].abs().sum(1).nonzero().max())
        segment_end = frame + 1 if kind == "time_restricted" else (frame // 4 + 1) * 4
        limit = segment_end * 4 + round(encoder.look_ahead / 0.01)
        assert last < limit
        reach = max(reach, last - limit + 1)
    assert reach == 0


def test_whole_utterance_encoders_refuse_to_stream() -> None:
    encoder = small("full_context")
    with pytest.raises(NotImplementedError, match="full_context"):
        encoder.init_state(1)
    with pytest.raises(NotImplementedError, match="full_context"):
        encoder.step(torch.zeros(1, 4, 5), {})
    assert encoder.look_ahead == float("inf")


def test_wrong_shapes_are_named() -> None:
    encoder = small("augmented_memory")
    with pytest.raises(ValueError, match="features"):
        encoder(torch.zeros(1, 4, 6), torch.tensor([4]))
    with pytest.raises(ValueError, match="lengths"):
        encoder(torch.zeros(1, 4, 5), torch.tensor([5]))
    with pytest.raises(ValueError, match="batch"):
        encoder.init_state(0)
    with pytest.raises(ValueError, match="chunk"):
        encoder.step(torch.zeros(2, 4, 5), encoder.init_state(1))

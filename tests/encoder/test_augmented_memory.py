"""Memory passed from utterance to utterance: consecutive parts of a recording equal the whole recording."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from augmem.encoder import MEMORIES, EncoderConfig, build_encoder
from augmem.encoder.augmented_memory import AugmentedMemoryEncoder

CENTRE = 4  # encoder frames; without left and right context, parts of whole segments are cut like the recording


def make(**options: object) -> AugmentedMemoryEncoder:
    settings = {
        "dim": 12, "heads": 2, "feedforward_dim": 16, "layers": 2, "frontend_channels": (2, 2), "dropout": 0.0,
        "left_context": 0.0, "centre": CENTRE * 0.04, "right_context": 0.0,
    }  # fmt: skip
    encoder = build_encoder(EncoderConfig(**(settings | options)), 8, 0.01)  # type: ignore[arg-type]
    assert isinstance(encoder, AugmentedMemoryEncoder)
    return encoder.double()


def in_pieces(encoder: AugmentedMemoryEncoder, frames: list[Tensor], segments: list[list[int]]) -> list[list[Tensor]]:
    """Return the outputs of each recording (T, D) by part; recordings may have different numbers of parts."""
    memory = encoder.empty_memory(len(frames))
    outputs: list[list[Tensor]] = [[] for _ in frames]
    at = [0] * len(frames)
    for turn in range(max(map(len, segments))):
        who = [n for n, pieces in enumerate(segments) if turn < len(pieces)]
        rows = [frames[n][at[n] : at[n] + CENTRE * segments[n][turn]] for n in who]
        lengths = torch.tensor([len(piece) for piece in rows])
        hidden, _, mine = encoder._encode_segments(torch.cat(rows), lengths, memory.select(torch.tensor(who)))
        assert mine is not None
        memory = memory.put(torch.tensor(who), mine)
        for row, n in enumerate(who):
            outputs[n].append(hidden[row, : int(lengths[row])])
            at[n] += int(lengths[row])
    return outputs


@settings(max_examples=40)
@given(
    segments=st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=3), min_size=1, max_size=3),
    bound=st.sampled_from([None, 0, 1, 2, 5]),
    sees=st.booleans(),
    content=st.sampled_from(["attention", "mean"]),
    seed=st.integers(0, 99),
)
def test_parts_equal_the_recording(
    segments: list[list[int]], bound: int | None, sees: bool, content: str, seed: int
) -> None:
    torch.manual_seed(seed)
    check_parts(make(memory_slots=bound, summary_sees_memory=sees, slot_content=content).eval(), segments)


@pytest.mark.parametrize("kind", [kind for kind in MEMORIES if kind != "slots"])
def test_parts_equal_the_recording_with_other_kinds_of_memory(kind: str) -> None:
    torch.manual_seed(0)
    check_parts(make(memory=kind).eval(), [[2, 1, 3], [1, 2]])


def check_parts(encoder: AugmentedMemoryEncoder, segments: list[list[int]]) -> None:
    """Compare outputs and gradients of recordings and of their parts of so many segments."""
    frames = [torch.randn(CENTRE * sum(pieces), 12, dtype=torch.float64) for pieces in segments]
    whole, _ = encoder._encode(torch.cat(frames), torch.tensor([len(rows) for rows in frames]))
    parts = [torch.cat(pieces) for pieces in in_pieces(encoder, frames, segments)]
    for recording, rows, part in zip(whole, frames, parts, strict=True):
        torch.testing.assert_close(part, recording[: len(rows)], rtol=0, atol=1e-10)
    expected, gradients = (gradients_of(encoder, result) for result in (list(whole), parts))
    for gradient, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-9)


def gradients_of(encoder: AugmentedMemoryEncoder, outputs: list[Tensor]) -> list[Tensor]:
    """Return the gradient of each parameter."""
    parameters, loss = list(encoder.parameters()), sum(rows.square().sum() + rows[:, 0].sum() for rows in outputs)
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return [
        torch.zeros_like(parameter) if part is None else part for parameter, part in zip(parameters, found, strict=True)
    ]


def test_gradients_flow_through_the_newest_slots_of_memory() -> None:
    torch.manual_seed(0)
    encoder = make()
    first, second = (torch.randn(8, 12, dtype=torch.float64, requires_grad=True) for _ in range(2))
    reached = []
    for slots in (0, 1, 2, 9):
        _, _, memory = encoder._encode_segments(first, torch.tensor([8]), encoder.empty_memory(1))
        assert memory is not None and memory.count.tolist() == [2]
        whole, limited = memory.values, memory.limit_gradient(slots)
        assert torch.equal(limited.values, whole)
        hidden, _, _ = encoder._encode_segments(second, torch.tensor([8]), limited)
        alone, _ = encoder._encode(second, torch.tensor([8]))
        assert float((alone - hidden).detach().abs().max()) > 1e-6  # memory has an effect
        ends = torch.autograd.grad(hidden.sum(), (whole, second), allow_unused=True)
        assert ends[1] is not None
        reached.append([] if ends[0] is None else ends[0].abs().amax((0, 1, 2, 3, 5)).gt(0).tolist())
    assert reached == [[], [False, True], [True, True], [True, True]]


def test_encode_with_memory_of_new_sessions_equals_encode() -> None:
    torch.manual_seed(0)
    encoder, features, lengths = make().eval(), torch.randn(2, 40, 8, dtype=torch.float64), torch.tensor([40, 23])
    encoded, memory = encoder.encode_with_memory(features, lengths, encoder.empty_memory(2))
    torch.testing.assert_close(encoded.hidden, encoder.encode(features, lengths).hidden)
    assert memory.count.tolist() == [3, 2]
    with pytest.raises(ValueError, match="layer_drop must be 0"):
        make(layer_drop=0.1).encode_with_memory(features, lengths, encoder.empty_memory(2))

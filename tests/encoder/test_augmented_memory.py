"""Memory passed from utterance to utterance: consecutive parts of a recording equal the whole recording."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from augmem.encoder import EncoderConfig, build_encoder
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
    encoder = make(memory_slots=bound, summary_sees_memory=sees, slot_content=content).eval()
    frames = [torch.randn(CENTRE * sum(pieces), 12, dtype=torch.float64) for pieces in segments]
    whole, _ = encoder._encode(torch.cat(frames), torch.tensor([len(rows) for rows in frames]))
    for recording, rows, pieces in zip(whole, frames, in_pieces(encoder, frames, segments), strict=True):
        torch.testing.assert_close(torch.cat(pieces), recording[: len(rows)], rtol=0, atol=1e-10)


def test_no_gradient_flows_into_memory() -> None:
    torch.manual_seed(0)
    encoder = make()
    first, second = (torch.randn(8, 12, dtype=torch.float64, requires_grad=True) for _ in range(2))
    _, _, memory = encoder._encode_segments(first, torch.tensor([8]), encoder.empty_memory(1))
    assert memory is not None
    hidden, _, _ = encoder._encode_segments(second, torch.tensor([8]), memory)
    assert memory.count.tolist() == [2]
    hidden.sum().backward()
    assert first.grad is None and second.grad is not None
    alone, _ = encoder._encode(second, torch.tensor([8]))
    assert float((alone - hidden).abs().max()) > 1e-6  # memory has an effect


def test_encode_with_memory_of_new_sessions_equals_encode() -> None:
    torch.manual_seed(0)
    encoder, features, lengths = make().eval(), torch.randn(2, 40, 8, dtype=torch.float64), torch.tensor([40, 23])
    encoded, memory = encoder.encode_with_memory(features, lengths, encoder.empty_memory(2))
    torch.testing.assert_close(encoded.hidden, encoder.encode(features, lengths).hidden)
    assert memory.count.tolist() == [3, 2]
    with pytest.raises(ValueError, match="layer_drop must be 0"):
        make(layer_drop=0.1).encode_with_memory(features, lengths, encoder.empty_memory(2))

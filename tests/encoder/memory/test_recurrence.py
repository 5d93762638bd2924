"""The scan of a linear recurrence equals a loop; kinds that follow one stay bounded for hours."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from augmem.encoder import MEMORIES, AugmentedMemoryEncoder, build_encoder
from augmem.encoder.memory.recurrence import RecurrentMemory, scan, update
from augmem.encoder.registry import find_memory
from tests.encoder.memory.blocks import make_layer
from tests.encoder.small import small_config

KINDS = [kind for kind in MEMORIES if issubclass(find_memory(small_config(memory=kind)), RecurrentMemory)]
STABLE = [kind for kind in MEMORIES if find_memory(small_config(memory=kind)).stable]


def random_parts(segments: int, closed: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(segments)
    log_share = torch.nn.functional.logsigmoid(torch.randn(2, 3, segments, dtype=torch.float64) - closed)
    return log_share, torch.randn(2, 3, segments, 5).double(), torch.randn(2, 3, 5).double()


@pytest.mark.parametrize("closed", [0.0, 40.0])
@pytest.mark.parametrize("segments", [1, 2, 9])
def test_the_scan_equals_a_loop(segments: int, closed: float) -> None:
    """Also where shares are as small as exp(-40): products of them must not divide by each other."""
    log_share, addend, memory = random_parts(segments, closed)
    expected = [memory]
    for n in range(segments):
        expected.append(log_share[:, :, n, None].exp() * expected[-1] + addend[:, :, n])
    torch.testing.assert_close(scan(log_share, addend, memory), torch.stack(expected, 2), rtol=0, atol=1e-12)


def test_gradients_of_the_scan() -> None:
    parts = tuple(part.requires_grad_() for part in random_parts(4))
    assert torch.autograd.gradcheck(scan, parts, fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_memory_of_ten_hours_stays_bounded(kind: Any) -> None:
    """28,125 segments of 1.28 s with large weights: the update alone, since contributions do not depend on memory."""
    layer, norms = make_layer(kind, [4 * 225]), []
    for part in (layer.attention.query, layer.attention.key_value, layer.attention.output):
        part.weight.data *= 4
    with torch.no_grad():
        parts = layer.attention.memory.contribute(layer.attention, layer.project(), layer.rows, layer.index)
        segments = list(zip(*(part.split(1) for part in parts), strict=True))
        content = torch.zeros_like(parts[1][:1])
        for _ in range(125):
            for share, addend in segments:
                content = update(content, share, addend)
            norms.append(float(content.norm()))
    assert len(segments) * len(norms) == 28_125
    assert max(norms[-20:]) <= 1.01 * max(norms[:20]) < 1e9


@pytest.mark.parametrize("kind", STABLE)
def test_stable_memory_is_not_reset_and_stays_bounded(kind: Any) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(small_config(memory=kind, memory_slots=3), 5, 0.01).double()
    assert isinstance(encoder, AugmentedMemoryEncoder)
    for layer in encoder.layers:
        layer.attention.key_value.weight.data *= 8
        layer.attention.output.weight.data *= 8
    state, norms = encoder.init_state(1), []
    for chunk in torch.randn(1, encoder.chunk_frames * 60, 5).double().split(encoder.chunk_frames, 1):
        with torch.no_grad():
            state = encoder.step(chunk, state)[1].limit_memory(8)
        norms.append(float(state.recurrent.values.norm()))  # type: ignore[attr-defined]
    assert int(state.recurrent.count) == 59  # type: ignore[attr-defined]
    assert max(norms[-20:]) <= 1.5 * max(norms[10:40])

"""Attention maps cover all blocks and sum to one."""

from __future__ import annotations

import pytest
import torch

from augmem.encoder import MEMORIES, attention_maps, build_encoder
from tests.encoder.small import small_config

SMALL = small_config()


def test_maps_cover_every_block() -> None:
    encoder = build_encoder(SMALL, 5, 0.01)
    maps = attention_maps(encoder, torch.randn(50, 5))
    assert [(m.layer, m.segment) for m in maps] == [(layer, n) for layer in (1, 2) for n in range(4)]
    sizes = [(m.memory, m.left, m.centre, m.right) for m in maps[:4]]
    assert sizes == [(0, 0, 4, 2), (1, 3, 4, 2), (2, 3, 4, 1), (3, 3, 1, 0)]
    for m in maps:
        assert m.weights.shape[-1] == m.memory + m.left + m.centre + m.right
        torch.testing.assert_close(m.weights.sum(-1), torch.ones(m.weights.shape[:-1]))


@pytest.mark.parametrize("kind", MEMORIES)
def test_maps_of_every_kind_of_memory_sum_to_one(kind: str) -> None:
    for m in attention_maps(build_encoder(small_config(memory=kind), 5, 0.01), torch.randn(50, 5)):
        assert m.weights.shape[-1] == m.memory + m.left + m.centre + m.right
        torch.testing.assert_close(m.weights.sum(-1), torch.ones(m.weights.shape[:-1]))
        assert m.memory == {"gated": 8, "recurrent_sum": 0}.get(kind, m.segment)

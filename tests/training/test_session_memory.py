"""Memory of lanes: rows on demand, empty at the start of a session and after non-finite values, restored."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from augmem.encoder import MEMORIES, AugmentedMemoryEncoder, Memory
from augmem.training.session_memory import SessionMemory
from tests.encoder.small import random_encoder, small_config


def make_encoder(kind: str) -> AugmentedMemoryEncoder:
    encoder = random_encoder(small_config(memory=kind, memory_slots=2))
    assert isinstance(encoder, AugmentedMemoryEncoder)
    return encoder


def run(encoder: AugmentedMemoryEncoder, features: Tensor, memory: Memory) -> Memory:
    lengths = torch.full((len(features),), features.size(1))
    return encoder.encode_with_memory(features, lengths, memory)[1]


@pytest.mark.parametrize("kind", MEMORIES)
def test_lanes_keep_the_memory_of_their_sessions(kind: str) -> None:
    encoder = make_encoder(kind)
    lanes = SessionMemory(encoder.empty_memory(0))
    features = torch.randn(3, 40, 7).double()
    new = torch.tensor([True, True])
    lanes.set(torch.tensor([2, 0]), run(encoder, features[:2], lanes.get(torch.tensor([2, 0]), new)))
    expected = run(encoder, features[2:], run(encoder, features[:1], encoder.empty_memory(1)))
    found = run(encoder, features[2:], lanes.get(torch.tensor([2]), ~new[:1]))
    torch.testing.assert_close(list(found.tensors()), list(expected.tensors()), rtol=0, atol=1e-12)
    again = lanes.get(torch.tensor([2, 1]), torch.tensor([True, False]))
    assert again.count.tolist() == [0, 0] and not again.values.any()


def test_lanes_with_non_finite_values_become_empty() -> None:
    encoder = make_encoder("slots")
    lanes = SessionMemory(encoder.empty_memory(0))
    which = torch.tensor([0, 1])
    memory = run(encoder, torch.randn(2, 40, 7).double(), lanes.get(which, torch.tensor([True, True])))
    memory.values[1, 0, 0, 0, 0, 0] = torch.nan
    lanes.set(which, memory)
    assert lanes.memory.count.tolist() == [2, 0] and bool(lanes.memory.values.isfinite().all())


def test_checkpoints_of_earlier_releases_list_filled_columns() -> None:
    lanes = SessionMemory(make_encoder("slots").empty_memory(0))
    lanes.load([torch.ones(2, 2, 2, 2, 3, 4), torch.tensor([[False, True, True], [False, False, False]])])
    assert lanes.memory.count.tolist() == [2, 0]

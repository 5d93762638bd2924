"""Self-gated memory against its formula, segment by segment in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.encoder.memory.blocks import make_layer


def test_outputs_follow_the_formula() -> None:
    """Two utterances of 3 and 1 segments; blocks are ordered by segment, then by utterance."""
    layer = make_layer("gated", [11, 3], memory_slots=3, left_context=0.12)
    attention, plan = layer.attention, layer.plan
    module = attention.memory
    tables = module.index(plan, None, layer.rows, None)
    older = torch.zeros(2, 3, 2, 4, dtype=torch.float64)
    found, last = attention(layer.rows, layer.rows, layer.index, tables, older)
    memories = [torch.zeros(3, 8, dtype=torch.float64) for _ in range(2)]
    expected: list[Tensor] = []
    begin = 0
    for rank, size, weights in zip(
        plan.ranks.tolist(), plan.blocks.all.counts.tolist(), plan.blocks.pooling, strict=True
    ):
        h = layer.rows[begin : begin + size]
        memory, summary = memories[rank], weights[0, :size] @ h
        expected.append(attend(attention, h, torch.cat([memory, h])))
        s = attend(attention, summary[None], h)
        u = F.linear(s, module.candidate.weight, module.candidate.bias)[0]
        gates = (F.linear(s, module.gate.weight, module.gate.bias)[0] + module.offset).sigmoid().view(3, 2, 1)
        candidate = (u.tanh() * u.sigmoid()).view(2, 4)
        memories[rank] = ((1 - gates) * memory.view(3, 2, 4) + gates * candidate).view(3, 8)
        begin += size
    torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=1e-12)
    torch.testing.assert_close(last.flatten(2), torch.stack([m.view(3, 8) for m in memories]).view(2, 3, 8))


def attend(attention: torch.nn.Module, queries: Tensor, rows: Tensor) -> Tensor:
    """Multi-head attention of the queries to the rows."""
    q, (k, v) = attention.query(queries), attention.key_value(rows).chunk(2, 1)
    q, k, v = (x.view(len(x), 2, 4).transpose(0, 1) for x in (q, k, v))
    return attention.output((F.softmax(q @ k.transpose(1, 2) / 2, -1) @ v).transpose(0, 1).flatten(1))


def test_slots_stay_within_one() -> None:
    layer = make_layer("gated", [400], memory_slots=4)
    for parameter in layer.attention.parameters():
        parameter.data *= 20
    tables = layer.attention.memory.index(layer.plan, None, layer.rows, None)
    older = torch.zeros(1, 4, 2, 4, dtype=torch.float64)
    _, last = layer.attention(layer.rows, layer.rows, layer.index, tables, older)
    assert 0.5 < float(last.abs().max()) <= 1

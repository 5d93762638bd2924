"""Selected slots against their formula; hard selection keeps the best, soft selection all."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from augmem.encoder.memory.selection import Selection, best_columns
from tests.encoder.memory.blocks import Layer, make_layer
from tests.encoder.small import small_config


def outputs(layer: Layer, kept: int) -> torch.Tensor:
    """Return the outputs of one utterance in plain torch; each segment reads `kept` slots at most."""
    attention, plan = layer.attention, layer.plan
    slots, found, begin = [], [], 0
    for size, weights in zip(plan.blocks.all.counts.tolist(), plan.blocks.pooling, strict=True):
        h = layer.rows[begin : begin + size]
        best = sorted(slots, key=lambda slot: float(attention.memory.score(slot)))[-kept:]
        rows = torch.cat([*best, h])
        gates = F.logsigmoid(attention.memory.score(torch.cat(best))[:, 0]) if best else torch.zeros(0).double()
        bias = F.pad(gates, (0, size))
        found.append(attend(layer, h, rows, bias))
        slots.append(attend(layer, weights[:, :size] @ h, h, torch.zeros(size).double()))
        begin += size
    return torch.cat(found)


def attend(layer: Layer, queries: torch.Tensor, rows: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    attention = layer.attention
    q, (k, v) = attention.query(queries), attention.key_value(rows).chunk(2, 1)
    q, k, v = (x.view(len(x), 2, 4).transpose(0, 1) for x in (q, k, v))
    weights = F.softmax(q @ k.transpose(1, 2) / 2 + bias, -1)
    return attention.output((weights @ v).transpose(0, 1).flatten(1))


def test_selection_is_soft_in_training_and_hard_otherwise() -> None:
    layer = make_layer("selected", [27], memory_slots=2)
    config = small_config(memory="selected", memory_slots=2)
    tables = layer.attention.memory.index(layer.plan, config, layer.rows, None)
    older = torch.zeros(1, 0, 9, dtype=torch.float64)
    hard, _ = layer.attention(layer.rows, layer.rows, layer.index, tables, older)
    torch.testing.assert_close(hard, outputs(layer, 2), rtol=0, atol=1e-12)
    soft, _ = layer.attention.train()(layer.rows, layer.rows, layer.index, tables, older)
    torch.testing.assert_close(soft, outputs(layer, 99), rtol=0, atol=1e-12)
    assert float((soft - hard).abs().max()) > 1e-3


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 5))
def test_streams_keep_the_best_of_all_slots(scores: list[int], limit: int) -> None:
    """Equal scores are frequent here; of equal ones, the newest are kept."""
    state = Selection(torch.zeros(1, 1, limit, 2), torch.zeros(1, dtype=torch.int64))
    for number, score in enumerate(scores, 1):
        state = state.write(torch.tensor([[[[float(number), float(score)]]]]), limit)
    found = state.values[0, 0, -min(limit, len(scores)) :, 0].tolist()
    best = sorted(range(len(scores)), key=lambda n: (scores[n], n))[-limit:]
    assert found == [n + 1 for n in sorted(best)]
    columns = best_columns(torch.tensor(scores, dtype=torch.float64), min(limit, len(scores)))
    assert columns.nonzero()[:, 0].tolist() == sorted(best)

"""The recurrent sum against its formula, frame by frame and segment by segment in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.encoder.memory.blocks import make_layer


def test_outputs_follow_the_formula() -> None:
    layer = make_layer("recurrent_sum", [11, 3])
    attention, plan = layer.attention, layer.plan
    tables = attention.memory.index(plan, None, layer.rows, None)
    older = torch.zeros(2, 2, 4, 5, dtype=torch.float64)
    found, last = attention(layer.rows, layer.rows, layer.index, tables, older)
    shares = attention.memory.share.sigmoid()
    sums, norms = torch.zeros(2, 2, 4, 4).double(), torch.zeros(2, 2, 4).double()
    expected: list[Tensor] = []
    begin = 0
    sizes = plan.blocks.all.counts.tolist()
    for rank, size, weights in zip(plan.ranks.tolist(), sizes, plan.blocks.pooling, strict=True):
        h = layer.rows[begin : begin + size]
        heads = []
        q, (k, v) = attention.query(h), attention.key_value(h).chunk(2, 1)
        for head in range(2):
            own = slice(4 * head, 4 * head + 4)
            past = torch.zeros(size, 4).double()
            if norms[rank, head].any():
                features = F.elu(q[:, own]) + 1
                past = features @ sums[rank, head] / (features @ norms[rank, head])[:, None]
            heads.append(F.softmax(q[:, own] @ k[:, own].t() / 2, -1) @ v[:, own] + past)
            mean = torch.zeros(4, 4).double()
            features = torch.zeros(4).double()
            for t in weights[0].nonzero()[:, 0].tolist():
                mean += weights[0, t] * (F.elu(k[t, own]) + 1)[:, None] * v[t, own]
                features += weights[0, t] * (F.elu(k[t, own]) + 1)
            sums[rank, head] = shares[head] * sums[rank, head] + mean
            norms[rank, head] = shares[head] * norms[rank, head] + features
        expected.append(attention.output(torch.cat(heads, 1)))
        begin += size
    torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=1e-12)
    torch.testing.assert_close(last, torch.cat([sums, norms[..., None]], 3), rtol=0, atol=1e-12)

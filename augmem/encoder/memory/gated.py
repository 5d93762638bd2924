"""Self-gated memory: a fixed number of slots, each updated by a gate that the segment's summary controls.

Source: after the self-gated memory (SGM) cell of Prabhakar, Agrawal, Babu, "Self-Gated Memory Recurrent Network for
Efficient Scalable HDR Deghosting", arXiv 2112.13050, which multiplies the output of a gate by a function of itself.
With the summary s_n of segment n (a slot of the paper that does not depend on the memory), for slot j and each head::

    u_n     = W_u s_n
    c_n     = tanh(u_n) * sigmoid(u_n)                    self-gated candidate, in (-1, 1)
    g_nj    = sigmoid(w_j s_n + b_j)                      one gate for each slot and head
    m_nj    = (1 - g_nj) m_(n-1)j + g_nj c_n              m_0j = 0
    K, V    = W_k, W_v [m_(n-1)1 .. m_(n-1)M, h_L, h_C, h_R]

A slot is a convex combination of candidates and zero: its elements stay in (-1, 1), whatever the length of the stream.
Biases b_j consist of a constant and a learned part. With the constants alone, slots average over about 2 segments (the
first slot) to 256 segments (the last slot).

Letters: S blocks, M slots, H heads, d head width, D = H * d.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augmem.encoder.config import EncoderConfig
from augmem.encoder.index import LayerIndex
from augmem.encoder.memory.recurrence import RecurrentMemory
from augmem.encoder.segments import Plan

if TYPE_CHECKING:
    from augmem.encoder.attention import AugmentedMemoryAttention, Projections

_SLOTS = 8  # where `encoder.memory_slots` is null


class GatedMemory(RecurrentMemory):
    """See the module docstring; the memory of a layer is (M, H, d)."""

    offset: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.slots = self.bank_size(config)
        self.candidate = nn.Linear(config.dim, config.dim)
        self.gate = nn.Linear(config.dim, self.slots * config.heads)
        shares = 0.5 ** torch.linspace(1, 8, self.slots).repeat_interleave(config.heads)
        self.register_buffer("offset", shares.logit(), persistent=False)

    @classmethod
    def bank_size(cls, config: EncoderConfig) -> int:
        return _SLOTS if config.memory_slots is None else config.memory_slots

    @classmethod
    def shape(cls, config: EncoderConfig, slots: int) -> tuple[int, ...]:
        return (cls.bank_size(config), config.heads, config.dim // config.heads)

    @classmethod
    def count_columns(cls, plan: Plan, config: EncoderConfig) -> Tensor:
        return torch.full_like(plan.segments, cls.bank_size(config))

    def contribute(
        self, attention: AugmentedMemoryAttention, block: Projections, queries: Tensor, index: LayerIndex
    ) -> tuple[Tensor, Tensor]:
        summary = attention.slots(block, queries, index)
        gate, content = self.gate(summary) + self.offset, self.candidate(summary)
        candidate = (content.tanh() * content.sigmoid()).view(-1, 1, attention.heads, attention.head_dim)
        opened = gate.sigmoid().view(-1, self.slots, attention.heads, 1)
        return F.logsigmoid(-gate), (opened * candidate).flatten(1, 2)

    def read(
        self, attention: AugmentedMemoryAttention, block: Projections, index: LayerIndex, memory: Tensor
    ) -> Tensor:
        keys_values = attention.key_value(memory.flatten(2)).view(*memory.shape[:2], 2, *memory.shape[2:])
        bias = F.pad(index.bias, (self.slots, 0))
        return attention.attend(block, index, keys_values.permute(2, 0, 3, 1, 4), bias)

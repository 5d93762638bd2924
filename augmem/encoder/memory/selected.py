"""Selected slots: a learned score keeps the best slots of all past segments.

Source: after the selector of Xie et al., "Chunk, Align, Select: A Simple Long-sequence Processing Method for
Transformers", arXiv 2308.13191, which keeps the most representative hidden states of all chunks for the decoder and is
trained by reinforcement. Here the score weighs the slots in the attention and is trained with it. With the slot m_n of
segment n, which does not depend on the memory, and the set B_n of slots that segment n reads::

    r_n = w m_n + b                                          score
    w_j = exp(q W_k m_j / sqrt(d)) sigmoid(r_j)  for j in B_n        weight of a slot, before normalisation
    w_t = exp(q W_k h_t / sqrt(d))                                   weight of a frame of the block

In training, B_n are all slots before n: soft selection. Otherwise, B_n are the M of them with the highest scores, of
equal ones the newest: hard selection. It is the same in the parallel form and in streams, where a slot beyond M takes
the place of the one with the lowest score, because scores do not change. Both selections are equal in the first M + 1
segments.

Letters: S blocks, B utterances by rank, N slots of an utterance, J0 slots of earlier utterances, C = J0 + N, H heads,
J memory columns, W cells of a block, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augmem.encoder.config import EncoderConfig
from augmem.encoder.index import LayerIndex
from augmem.encoder.memory.base import LayerMemory
from augmem.encoder.memory.selection import Selection, best_columns, take_columns
from augmem.encoder.memory.slot_index import SlotColumns, read_columns, remaining_columns, slot_writers
from augmem.encoder.rows import additive, gather, head_rows
from augmem.encoder.segments import Plan
from augmem.encoder.state import Memory

if TYPE_CHECKING:
    from augmem.encoder.attention import AugmentedMemoryAttention, Projections

_SLOTS = 16  # where `encoder.memory_slots` is null


class SelectionTables(NamedTuple):
    """Tables of a batch.

    Args:
        writers: (B, N) block that writes each slot.
        columns: (S, J) slots before each block.
        mask: (S, J) additive mask of these columns.
        vectors: (2, S, H, J) keys and values of these slots in a (B * C * 2 * H, d) view.
        remaining: slots before the end of each utterance.
        size: slots to keep.
    """

    writers: Tensor
    columns: Tensor
    mask: Tensor
    vectors: Tensor
    remaining: SlotColumns
    size: int


class SelectedSlots(LayerMemory):
    """See the module docstring; the memory of a layer is (M, D + 1): slots and their scores."""

    state = Selection

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.score = nn.Linear(config.dim, 1)

    @classmethod
    def bank_size(cls, config: EncoderConfig) -> int:
        return _SLOTS if config.memory_slots is None else config.memory_slots

    @classmethod
    def shape(cls, config: EncoderConfig, slots: int) -> tuple[int, ...]:
        return (slots, config.dim + 1)

    @classmethod
    def count_columns(cls, plan: Plan, config: EncoderConfig) -> Tensor:
        return plan.segments

    @classmethod
    def index(cls, plan: Plan, config: EncoderConfig, like: Tensor, older: Memory | None) -> SelectionTables:
        none = torch.zeros(plan.order.numel(), 0, dtype=torch.bool, device=plan.order.device)
        held = older.held() if isinstance(older, Selection) else none
        columns, remaining = read_columns(plan, None, held), remaining_columns(plan, None, held)
        vectors = head_rows(columns.slots, config.heads, 2)
        size = min(cls.bank_size(config), columns.slots.size(1))
        writers, mask = slot_writers(plan, last=True), additive(columns.seen, like)
        return SelectionTables(writers, columns.slots, mask, vectors, remaining, size)

    @classmethod
    def collect(cls, written: Sequence[Tensor], tables: SelectionTables, older: Memory) -> Selection:
        slots, seen = tables.remaining
        values = torch.stack(list(written), 1)
        position = (slots % values.size(2))[:, None].expand(-1, values.size(1), -1)
        values = take_columns(values, position)
        kept = best_columns(values[..., -1].masked_fill(~seen[:, None], float("-inf")), tables.size)
        return Selection(take_columns(values, kept.nonzero()[:, -1].view(*values.shape[:2], -1)), seen.sum(1))

    def forward(
        self,
        attention: AugmentedMemoryAttention,
        block: Projections,
        queries: Tensor,
        index: LayerIndex,
        tables: SelectionTables,
        older: Tensor,
    ) -> tuple[Tensor, Tensor]:
        new = gather(self._write(attention, block, queries, index).to(older.dtype), tables.writers)
        slots = torch.cat([older, new], 1)
        bank = gather(attention.key_value(slots[..., :-1]).view(-1, attention.head_dim), tables.vectors)
        scores = slots[..., -1].flatten()[tables.columns]
        bias = F.logsigmoid(scores) + tables.mask
        if not self.training:
            bias = bias.masked_fill(~best_columns(scores + tables.mask, tables.size), float("-inf"))
        return attention.attend(block, index, bank, _with_block(bias, index)), slots

    def step(
        self,
        attention: AugmentedMemoryAttention,
        block: Projections,
        queries: Tensor,
        index: LayerIndex,
        memory: Tensor,
        mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        keys_values = attention.key_value(memory[..., :-1])
        keys_values = keys_values.view(*memory.shape[:2], 2, attention.heads, attention.head_dim)
        bias = F.logsigmoid(memory[..., -1]) + mask[:, 0]
        output = attention.attend(block, index, keys_values.permute(2, 0, 3, 1, 4), _with_block(bias, index))
        return output, self._write(attention, block, queries, index)[:, None]

    def _write(
        self, attention: AugmentedMemoryAttention, block: Projections, queries: Tensor, index: LayerIndex
    ) -> Tensor:
        """Return the slots of the blocks and their scores (S, D + 1)."""
        slot = attention.slots(block, queries, index)
        return torch.cat([slot, self.score(slot)], 1)


def _with_block(bias: Tensor, index: LayerIndex) -> Tensor:
    """Return the additive mask (S, 1, J + W) of memory columns, of which `bias` (S, J) is given, and block."""
    return torch.cat([bias[:, None].to(index.bias.dtype), index.bias], -1)

"""Memory of the paper: each segment writes a slot, and the queries of later segments attend to all slots.

Source: Wu et al., arXiv 2005.08042, section 3. With h = LN(x), s_n the summary query of segment n and the slots
m_1 .. m_{n-1} of earlier segments::

    Q        = W_q [h_L, h_C, h_R, s_n]
    K, V     = W_k, W_v [m_1 .. m_{n-1}, h_L, h_C, h_R]
    [Z, o_n] = W_o softmax(Q K^T / sqrt(d)) V
    m_n      = o_n

The bank holds the keys and values of the slots. In the parallel form only the summary queries are recurrent, and only
if they attend to the bank: see `augmem.encoder.recursion`. Slots are made of older slots then, and their norm may grow
over many minutes: streams reset the bank.

Letters: S blocks, R query rows, H heads, d head width, J memory columns of a block, B utterances by rank, N slots of an
utterance, J0 slots of earlier utterances, C = J0 + N.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from augmem.encoder.config import EncoderConfig
from augmem.encoder.index import LayerIndex
from augmem.encoder.memory.base import LayerMemory
from augmem.encoder.memory.slot_index import SlotColumns, SlotIndex, index_slots, read_columns, remaining_columns
from augmem.encoder.recursion import Slot, condense, write_slots
from augmem.encoder.rows import bank_rows, gather
from augmem.encoder.segments import Plan
from augmem.encoder.state import Bank, Memory

if TYPE_CHECKING:
    from augmem.encoder.attention import AugmentedMemoryAttention, Projections


class SlotTables(NamedTuple):
    """Tables of a batch.

    Args:
        bank: look-ups of the bank.
        remaining: slots that the next utterances read; None if memory ends with the utterance.
    """

    bank: SlotIndex
    remaining: SlotColumns | None


class SlotMemory(LayerMemory):
    """See the module docstring; the streaming form has a bank (S, 2, H, J, d)."""

    state = Bank
    stable = False

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.is_recurrent = config.summary_sees_memory and config.slot_content == "attention"

    @classmethod
    def bank_size(cls, config: EncoderConfig) -> int | None:
        return config.memory_slots

    @classmethod
    def shape(cls, config: EncoderConfig, slots: int) -> tuple[int, ...]:
        return (2, config.heads, slots, config.dim // config.heads)

    @classmethod
    def count_columns(cls, plan: Plan, config: EncoderConfig) -> Tensor:
        return read_columns(plan, config.memory_slots).seen.sum(1)

    @classmethod
    def index(cls, plan: Plan, config: EncoderConfig, like: Tensor, older: Memory | None) -> SlotTables | None:
        held = older.held() if isinstance(older, Bank) else None
        bank = index_slots(plan, config.memory_slots, config.heads, like, held)
        remaining = None if held is None else remaining_columns(plan, config.memory_slots, held)
        return None if bank is None else SlotTables(bank, remaining)

    @classmethod
    def collect(cls, written: Sequence[Tensor], tables: SlotTables, older: Memory) -> Memory:
        assert tables.remaining is not None
        slots, seen = tables.remaining
        _, utterances, heads, columns, width = written[0].shape
        rows = bank_rows(slots, columns, heads, utterances)
        kept = torch.stack([gather(layer.view(-1, width), rows) for layer in written])
        return Bank(kept.permute(2, 0, 1, 3, 4, 5), seen.sum(1))

    def forward(
        self,
        attention: AugmentedMemoryAttention,
        block: Projections,
        queries: Tensor,
        index: LayerIndex,
        tables: SlotTables,
        older: Tensor,
    ) -> tuple[Tensor, Tensor]:
        bank, older = tables.bank, older.transpose(0, 1)
        if self.is_recurrent:
            slots = _scan(attention, block, index, bank, older)
        else:
            slots = torch.cat([older, _independent_slots(attention, block, queries, index, bank)], 3)
        read = gather(slots.to(block.keys.dtype).view(-1, attention.head_dim), bank.slots, bank.slots_readers)
        return attention.attend(block, index, read, bank.bias), slots

    def step(
        self,
        attention: AugmentedMemoryAttention,
        block: Projections,
        queries: Tensor,
        index: LayerIndex,
        memory: Tensor,
        mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        bank, bias = memory.transpose(0, 1), torch.cat([mask, index.bias], -1)
        if not attention.has_memory:
            return attention.attend(block, index, bank, bias), memory[:, :, :, :0]
        if self.is_recurrent:
            output, slot = _attend_with_summary(attention, block, index, bank, bias)
        else:
            output = attention.attend(block, index, bank, bias)
            slot = attention.slots(block, queries, index)
        return output, attention.slot_key_value(slot).transpose(0, 1)


def _attend_with_summary(
    attention: AugmentedMemoryAttention, block: Projections, index: LayerIndex, bank: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Run `attend`, and return the slots (S, D) too: the summary query is one more query under the same mask."""
    z = attention.attend_heads(torch.cat([block.queries, block.summary], 2), block, bank, bias)
    frames, summary = z[:, :, :-1].reshape(-1, attention.head_dim), z[:, :, -1].flatten(1)
    heads = gather(frames, index.outputs).flatten(1)
    output, slot = attention.output(torch.cat([heads, summary])).split([heads.size(0), summary.size(0)])
    return output, slot.tanh() if attention.squash else slot


def _independent_slots(
    attention: AugmentedMemoryAttention, block: Projections, queries: Tensor, index: LayerIndex, bank: SlotIndex
) -> Tensor:
    """Compute keys and values (2, B, H, N, d) of slots that do not depend on earlier ones."""
    written = attention.slots(block, queries, index)[bank.writers]
    kv = attention.key_value(written).view(*bank.writers.shape, 2, attention.heads, attention.head_dim)
    return kv.permute(2, 0, 3, 1, 4)


def _scan(
    attention: AugmentedMemoryAttention, block: Projections, index: LayerIndex, bank: SlotIndex, older: Tensor
) -> Tensor:
    """Write slots segment by segment: keys and values (2, B, H, C, d), older ones first.

    In the precision of the weights: under autocast, the scores of blocks as a whole would be too coarse.
    """
    scores, values = attention.scores(block.summary, block.keys, index.bias), block.values
    if attention.summary_weights.suppression is None:
        scores, values = condense(scores, values)
    output, key_value = attention.output, attention.key_value
    slot = Slot(output.weight, output.bias, key_value.weight, key_value.bias, attention.squash)
    blocks = scores.size(0) * attention.heads
    parts = [part.reshape(blocks, -1).to(older.dtype) for part in (block.summary, scores, values)]
    written = gather(torch.cat(parts, 1), bank.summaries, bank.summaries_readers)
    query, scores, values = written.split([part.size(1) for part in parts], 3)
    with torch.autocast(older.device.type, enabled=False):
        return write_slots(query, attention.scale, scores, values, older, bank.hidden, slot, attention.summary_weights)

"""Tables of a memory bank in which each segment writes a slot and later segments read it.

Slots are numbered rank by rank: each rank has C = J0 + N of them, those of earlier utterances first. The utterances of
`augmem.encoder.segments`, without slots of earlier utterances (J0 = 0)::

    segment          slots that it reads
    block 0: A, 1st  none
    block 1: B, 1st  none
    block 2: A, 2nd  slot 0 (written by block 0)
    block 3: A, 3rd  slots 0 and 1 (written by blocks 0 and 2)

    writers  0 2  / 1 .    block that writes the 1st and 2nd slot of A and of B; the last slot is never read
    slots    . .  / . .  / . 0  / 0 1      slot in each memory column of blocks 0 to 3, newest last

Letters: B utterances by rank, N slots of an utterance, J0 slots of earlier utterances, C = J0 + N, S blocks, J memory
columns of a block, W cells of a block, H heads, d head width, K blocks that read a slot at most.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from augmem.encoder.rows import additive, bank_rows, readers_of
from augmem.encoder.segments import Plan


class SlotColumns(NamedTuple):
    """Slots in memory columns.

    Args:
        slots: (S, J) slot in each column, newest last; 0 in empty columns.
        seen: (S, J) bool, whether a column holds a slot.
    """

    slots: Tensor
    seen: Tensor


class SlotIndex(NamedTuple):
    """Look-up tables of the memory bank (2, B, H, C, d) of a batch, the same for all layers.

    Args:
        writers: (B, N) block that writes each slot; see `slot_writers`.
        summaries: (B, H, N) the same as head vectors in a (S * H, d) view.
        summaries_readers: (S * H, 1) slot that each of them writes.
        hidden: (B, N, C) additive mask of the slots that a summary query attends to.
        slots: (2, S, H, J) head vectors in a (2 * B * H * C, d) view that each block attends to.
        slots_readers: (2 * B * H * C, K) blocks that attend to each of them.
        bias: (S, 1, J + W) additive mask of the columns and of the cells of the block.
    """

    writers: Tensor
    summaries: Tensor
    summaries_readers: Tensor
    hidden: Tensor
    slots: Tensor
    slots_readers: Tensor
    bias: Tensor


def slot_writers(plan: Plan, last: bool = False) -> Tensor:
    """Return the block (B, N) that writes each slot, by rank and segment; 0 where there is none.

    Args:
        plan: segments of the batch.
        last: whether to include the last slot of the longest utterance, which only a next utterance reads.

    Example:
        >>> from augmem.encoder.segments import plan_segments
        >>> slot_writers(plan_segments(torch.tensor([10, 3]), 2, 4, 1)).tolist()
        [[0, 2], [1, 0]]
    """
    count = len(plan.alive) - (0 if last else 1)
    writers = plan.order.new_zeros(plan.order.numel(), len(plan.alive))
    writers[plan.ranks, plan.segments] = torch.arange(sum(plan.alive), device=writers.device)
    return writers[:, :count]


def read_columns(plan: Plan, memory_slots: int | None, older: Tensor | None = None) -> SlotColumns:
    """Return the slots that each block reads.

    Args:
        plan: segments of the batch.
        memory_slots: limit of the memory bank; None for no limit.
        older: (B, J0) bool by rank, which slots of earlier utterances exist. None: memory begins with each utterance
            and ends with it.

    Example:
        >>> from augmem.encoder.segments import plan_segments
        >>> columns = read_columns(plan_segments(torch.tensor([10, 3]), 2, 4, 1), None)
        >>> columns.slots[3].tolist(), columns.seen[2].tolist()
        ([0, 1], [False, True])
    """
    held = _held(plan, older)
    begin = 0 if older is None else older.size(1)
    return _columns_before(held, plan.segments + begin, plan.ranks, memory_slots)


def remaining_columns(plan: Plan, memory_slots: int | None, older: Tensor) -> SlotColumns:
    """Return the slots (B, J) that a segment after the end of each utterance would read; arguments as above."""
    ranks = torch.arange(plan.order.numel(), device=plan.order.device)
    return _columns_before(_held(plan, older), plan.counts + older.size(1), ranks, memory_slots)


def index_slots(
    plan: Plan, memory_slots: int | None, heads: int, like: Tensor, older: Tensor | None = None
) -> SlotIndex | None:
    """Build the tables of the memory bank; None if no block has memory.

    Args:
        plan, memory_slots, older: see `read_columns`.
        heads: H, attention heads.
        like: tensor with the dtype of the hidden vectors.
    """
    writers, columns = slot_writers(plan, older is not None), read_columns(plan, memory_slots, older)
    if columns.slots.size(1) == 0:
        return None
    held = _held(plan, older)
    size, head = held.size(1), torch.arange(heads, device=like.device)[:, None]
    return SlotIndex(
        writers=writers,
        summaries=writers[:, None] * heads + head,
        summaries_readers=_summaries_readers(writers, sum(plan.alive), heads),
        hidden=additive(_visible(held, writers.size(1), memory_slots), like),
        slots=bank_rows(columns.slots, size, heads, len(held)),
        slots_readers=_slots_readers(columns, len(held), size, heads),
        bias=additive(torch.cat([columns.seen, plan.blocks.all.filled], 1)[:, None], like),
    )


def _held(plan: Plan, older: Tensor | None) -> Tensor:
    """Return which slots of each rank exist, or are never read: (B, C) bool."""
    count = len(plan.alive) - (1 if older is None else 0)
    own = torch.ones(plan.order.numel(), count, dtype=torch.bool, device=plan.order.device)
    return own if older is None else torch.cat([older, own], 1)


def _columns_before(held: Tensor, end: Tensor, rank: Tensor, memory_slots: int | None) -> SlotColumns:
    """Return the slots before slot `end` (S,) of the `rank`-th (S,) utterance.

    Args:
        held: (B, C) bool, which slots of each rank exist.
        memory_slots: limit of the memory bank; None for no limit.
    """
    total = held.size(1)
    columns = total if memory_slots is None else min(total, memory_slots)
    time = (end - columns)[:, None] + torch.arange(columns, device=end.device)
    time, seen, rank = time.clamp(min=0), time >= 0, rank[:, None]
    seen = seen & held[rank, time]
    return SlotColumns(torch.where(seen, rank * total + time, 0), seen)


def _visible(held: Tensor, slots: int, memory_slots: int | None) -> Tensor:
    """Return which slots, older ones first, the summary query of each of the N slots attends to: (B, N, C) bool."""
    older = held.size(1) - slots
    column = torch.arange(held.size(1), device=held.device)
    end = torch.arange(slots, device=held.device)[:, None] + older
    first = torch.zeros_like(end) if memory_slots is None else end - memory_slots
    return held[:, None] & (column >= first) & (column < end)


def _summaries_readers(writers: Tensor, blocks: int, heads: int) -> Tensor:
    """Return the inverse of `SlotIndex.summaries`: (S * H, 1)."""
    B, N = writers.shape
    rank, segment, head = (torch.arange(n, device=writers.device) for n in (B, N, heads))
    positions = writers.new_full((blocks, heads), B * heads * N)
    positions[writers] = (rank[:, None, None] * heads + head) * N + segment[:, None]
    positions[0] = head * N  # also stands for slots that do not exist
    return positions.view(-1, 1)


def _slots_readers(columns: SlotColumns, utterances: int, size: int, heads: int) -> Tensor:
    """Return the inverse of `SlotIndex.slots` for banks of `size` columns: (2 * B * H * C, K)."""
    S, J = columns.slots.shape
    readers = readers_of(columns.slots, columns.seen, utterances * size)
    vectors = bank_rows(readers, J, heads, S).masked_fill(readers[:, None] == S * J, 2 * S * heads * J)
    by_head = vectors.unflatten(1, (-1, size)).transpose(2, 3)  # of (2, B * C, H, K)
    return by_head.reshape(-1, readers.size(1))

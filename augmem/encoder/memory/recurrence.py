"""Kinds of memory of a constant size that follow a linear recurrence over segments.

With a memory of G groups of X numbers, segment n contributes a share a_n (G) in (0, 1] and an addend b_n (G, X)::

    M_n = a_n * M_{n-1} + b_n            M_0 = 0, or the memory of the utterance before

Queries of segment n read M_{n-1}. Contributions do not depend on the memory, so that the parallel form computes all of
them at once and then all memories by one product::

    M_n = sum over j <= n of (a_{j+1} ... a_n) b_j       with b_0 = M_0

Letters: S blocks, R query rows, B utterances by rank, N segments of the longest utterance, G groups, X numbers of a
group, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from augmem.encoder.config import EncoderConfig
from augmem.encoder.index import LayerIndex
from augmem.encoder.memory.base import LayerMemory
from augmem.encoder.memory.slot_index import slot_writers
from augmem.encoder.rows import gather
from augmem.encoder.segments import Plan
from augmem.encoder.state import Memory

if TYPE_CHECKING:
    from augmem.encoder.attention import AugmentedMemoryAttention, Projections


class RecurrenceIndex(NamedTuple):
    """Tables of a batch; the memories of rank b are numbered b * (N + 1) + n, with n segments before them.

    Args:
        writers: (B, N) block of each segment; 0 where there is none.
        before: (S,) memory that each block reads.
        last: (B,) memory after each utterance.
        counts: (B,) segments of each utterance.
    """

    writers: Tensor
    before: Tensor
    last: Tensor
    counts: Tensor


class RecurrentMemory(LayerMemory):
    """Base class: subclasses provide `shape`, of which the first dimensions are the groups, `contribute` and `read`."""

    def contribute(
        self, attention: AugmentedMemoryAttention, block: Projections, queries: Tensor, index: LayerIndex
    ) -> tuple[Tensor, Tensor]:
        """Compute what each block contributes; arguments as in `forward`.

        Returns:
            log a (S, G) and b (S, G, X).
        """
        raise NotImplementedError

    def read(
        self, attention: AugmentedMemoryAttention, block: Projections, index: LayerIndex, memory: Tensor
    ) -> Tensor:
        """Return the outputs (R, D) of the query rows of each block with its memory (S, ...)."""
        raise NotImplementedError

    @classmethod
    def index(cls, plan: Plan, config: EncoderConfig, like: Tensor, older: Memory | None) -> RecurrenceIndex:
        size, ranks = len(plan.alive) + 1, torch.arange(plan.order.numel(), device=plan.order.device)
        before, last = plan.ranks * size + plan.segments, ranks * size + plan.counts
        return RecurrenceIndex(slot_writers(plan, last=True), before, last, plan.counts)

    @classmethod
    def collect(cls, written: Sequence[Tensor], tables: RecurrenceIndex, older: Memory) -> Memory:
        return cls.state(torch.stack(list(written), 1), older.count + tables.counts)

    def forward(
        self,
        attention: AugmentedMemoryAttention,
        block: Projections,
        queries: Tensor,
        index: LayerIndex,
        tables: RecurrenceIndex,
        older: Tensor,
    ) -> tuple[Tensor, Tensor]:
        log_share, addend = (part.to(older.dtype) for part in self.contribute(attention, block, queries, index))
        log_share = gather(log_share, tables.writers).transpose(1, 2)
        addend = gather(addend.flatten(1), tables.writers).unflatten(2, addend.shape[1:]).transpose(1, 2)
        memory = scan(log_share, addend, older.reshape(addend.size(0), addend.size(1), -1))
        rows = memory.transpose(1, 2).flatten(0, 1).flatten(1)
        before, last = gather(rows, tables.before), gather(rows, tables.last)
        read = self.read(attention, block, index, before.view(-1, *older.shape[1:]).to(block.keys.dtype))
        return read, last.view_as(older)

    def step(
        self,
        attention: AugmentedMemoryAttention,
        block: Projections,
        queries: Tensor,
        index: LayerIndex,
        memory: Tensor,
        mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        new = update(memory, *self.contribute(attention, block, queries, index))
        return self.read(attention, block, index, memory), new


def update(memory: Tensor, log_share: Tensor, addend: Tensor) -> Tensor:
    """Return the memory (S, ...) after a segment that contributes log a (S, G) and b (S, G, X)."""
    return (log_share.exp()[..., None] * memory.reshape(addend.shape) + addend).view(memory.shape)


def scan(log_share: Tensor, addend: Tensor, first: Tensor) -> Tensor:
    """Compute all memories of a linear recurrence.

    Args:
        log_share: (B, G, N) log a of each segment.
        addend: (B, G, N, X) b of each segment.
        first: (B, G, X) memory before the first segment.

    Returns:
        the memory before each segment and after the last (B, G, N + 1, X).

    Example:
        >>> scan(torch.tensor([[[0.5, 0.5]]]).log(), torch.tensor([[[[2.0], [4.0]]]]), torch.zeros(1, 1, 1)).flatten()
        tensor([0., 2., 5.])
    """
    with torch.autocast(addend.device.type, enabled=False):
        steps = F.pad(log_share, (1, 0))
        later = torch.ones(steps.size(2), steps.size(2), dtype=torch.bool, device=steps.device).tril(-1)
        # Sums of the segments between, not differences of sums from the start: long sums would cost precision.
        shares = (steps[..., None] * later).cumsum(2).exp().tril()
        return torch.matmul(shares, torch.cat([first[:, :, None], addend], 2))

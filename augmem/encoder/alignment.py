"""Alignment of neighbouring segments: frames that two segments share are averaged in the later one, after each layer.

Source: after the alignment of Xie et al., "Chunk, Align, Select", arXiv 2308.13191, which averages the start and end
tokens of all chunks after each layer. Here segment n has computed the left context and the first R frames of the centre
of segment n + 1 too, so for these frames f, and all layers but the last::

    x_(n+1)f := (x_(n+1)f + x_nf) / 2

with outputs x of the layer before alignment. Only the later segment changes: the earlier one would need frames beyond
its right context. All segments are still computed at once, and a stream keeps the last L + R rows of each layer.

Letters: B streams or utterances, S blocks, P packed block rows, L left and R right context, D model width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from augmem.encoder.memory.slot_index import slot_writers
from augmem.encoder.rows import gather
from augmem.encoder.segments import Blocks, Plan
from augmem.encoder.state import Memory, RecurrentState


@dataclass(frozen=True)
class AlignedState(RecurrentState):
    """Memory, and the last rows of each layer.

    Args:
        memory: memory of the layers.
        rows: (B, layers - 1, L + R, D) outputs of the lower layers for the last rows of the previous segment.
        started: (B,) 1 if there is a previous segment, otherwise 0.
    """

    memory: Memory
    rows: Tensor
    started: Tensor

    def limit_memory(self, segments: int) -> AlignedState:
        return AlignedState(self.memory.limit_memory(segments), self.rows, self.started)


class SharedRows(NamedTuple):
    """Rows of one block of each of S streams that the previous blocks share.

    Args:
        columns: (P,) row in a (S * (L + R), D) view of the rows that a stream keeps; 0 for rows that are not shared.
        shared: (P,) bool, whether a row is shared.
        blocks: (P,) block of each row.
        last: (S, L + R) last rows of each block, right-aligned.
    """

    columns: Tensor
    shared: Tensor
    blocks: Tensor
    last: Tensor


def previous_rows(plan: Plan) -> Tensor:
    """Return the row (P,) that holds the frame of each row in the previous segment; the row itself if none does.

    Example (the utterances of `augmem.encoder.segments`; block 2 has rows 8 to 14, block 0 rows 0 to 4):
        >>> from augmem.encoder.segments import plan_segments
        >>> previous_rows(plan_segments(torch.tensor([10, 3]), 2, 4, 1))[8:15].tolist()
        [2, 3, 4, 11, 12, 13, 14]
    """
    cells, source = plan.blocks.all, plan.blocks.source
    block, size = cells.coordinates()[0], cells.counts
    first = size.cumsum(0) - size
    previous = slot_writers(plan, last=True)[plan.ranks, (plan.segments - 1).clamp(min=0)]
    begin = first[previous][block]
    offset = source - source[begin]
    shared = (offset < size[previous][block]) & (plan.segments > 0)[block]
    return torch.where(shared, begin + offset, torch.arange(len(source), device=source.device))


def shared_rows(blocks: Blocks, left: int, right: int) -> SharedRows:
    """Build the tables of blocks that follow other blocks with the contexts `left` and `right`."""
    block, column = blocks.all.coordinates()
    size, kept = blocks.all.counts, left + right
    before = (blocks.pooling[:, 0] > 0).to(torch.int64).argmax(1)
    count = before + (size - before).clamp(max=right)
    shared = column < count[block]
    columns = block * kept + kept - count[block] + column
    last = (size.cumsum(0) - kept)[:, None] + torch.arange(kept, device=size.device)
    return SharedRows(torch.where(shared, columns, 0), shared, block, last.clamp(min=0))


def align_rows(x: Tensor, previous: Tensor) -> Tensor:
    """Return block rows (P, D), averaged with those of the previous segments; see `previous_rows`."""
    return 0.5 * (x + gather(x, previous))


def align_step(x: Tensor, tables: SharedRows, rows: Tensor, started: Tensor) -> tuple[Tensor, Tensor]:
    """Align one block of each of S streams.

    Args:
        x: (P, D) block rows.
        rows: (S, L + R, D) last rows of the previous blocks.
        started: (S,) whether there is a previous block.

    Returns:
        the aligned rows (P, D), and the last rows (S, L + R, D) before alignment.
    """
    shared = (tables.shared & started.bool()[tables.blocks])[:, None]
    earlier = gather(rows.flatten(0, 1), tables.columns) if rows.size(1) else x
    return torch.where(shared, 0.5 * (x + earlier), x), gather(x, tables.last)

"""Utterances cut into [L|C|R] blocks, and the index tables that every layer shares.

Frames are kept *packed*: one row per real frame, no padding, so that no arithmetic is spent on frames nobody
said. Attention alone needs rectangles; a `Cells` table says how packed rows lie in them.

The first and the last segment: frames that do not exist are absent, not zero. The first block has no left
context, a later one has as much as there is; the last centre may be shorter than C, and a right context ends
with the utterance. Streaming cuts the same blocks, because it waits for C + R frames or for the end of the
utterance.

Legend: B utterances, T frames, S segments of all utterances, P packed rows of all blocks, W widest block,
H heads, J memory columns, N segments of the longest utterance.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Cells(NamedTuple):
    """Where packed rows lie in a rectangle of S blocks.

    rows: (S, W) packed row in each cell; an empty cell repeats row 0.
    filled: (S, W) whether a cell holds a row.
    cells: (P,) cell s * W + w of each packed row.
    """

    rows: Tensor
    filled: Tensor
    cells: Tensor

    def coordinates(self) -> tuple[Tensor, Tensor]:
        """Block and column (P,) of each packed row."""
        width = self.rows.size(1)
        return self.cells.div(width, rounding_mode="floor"), self.cells % width


class Blocks(NamedTuple):
    """S blocks [L|C|R] over a table of frames.

    source: (P,) frame of each block row, block after block.
    all: cells of the whole blocks.
    centre: cells of the centres alone, whose packed rows are `source[centre_rows]`.
    centre_rows: (K,) block row of each centre row.
    pooling: (S, 1, W) float64 weights that average a block's centre.
    """

    source: Tensor
    all: Cells
    centre: Cells
    centre_rows: Tensor
    pooling: Tensor


class Plan(NamedTuple):
    """How a batch of utterances is cut: segment 0 of every utterance, then segment 1 of all that have one,
    ...

    Utterances with more segments come first, so that those alive at segment n are the first `alive[n]` ones.

    blocks: the S blocks.
    alive: for each n, the number of utterances that have a segment n.
    written: for each n, the number of utterances whose slot of segment n somebody reads: an utterance's last slot is
        read only if memory is handed on.
    slots: (S, J) memory slot in each memory column, newest last; slots are numbered like the segments that
        write them, and behind them stand those handed down, utterance by utterance as ranked.
    seen: (S, J) whether a memory column holds a slot.
    frame_of_output: (B, T) centre row of each output frame; padding points to row K, one behind the last.
    order: (B,) the utterances as ranked.
    left_over: (B, J) slots, and whether they hold anything: what a segment behind each utterance's last would see;
        none if nothing is handed on.
    """

    blocks: Blocks
    alive: list[int]
    written: list[int]
    slots: Tensor
    seen: Tensor
    frame_of_output: Tensor
    order: Tensor
    left_over: tuple[Tensor, Tensor] | None


def consecutive(counts: Tensor) -> Cells:
    """Cells of blocks whose `counts` (S,) rows are packed one block after the other, left-aligned."""
    width = int(counts.max())
    column = torch.arange(width, device=counts.device)
    filled = column < counts[:, None]
    rows = torch.where(filled, (counts.cumsum(0) - counts)[:, None] + column, 0)
    return Cells(rows, filled, filled.flatten().nonzero().squeeze(1))


def cut_blocks(first: Tensor, left: Tensor, centre: Tensor, right: Tensor) -> Blocks:
    """Blocks of `left` + `centre` + `right` (S,) frames that begin at frame `first` (S,) of the frame
    table."""
    cells = consecutive(left + centre + right)
    column = torch.arange(cells.rows.size(1), device=first.device)
    inside = (column >= left[:, None]) & (column < (left + centre)[:, None])
    source = (first[:, None] + column).flatten()[cells.cells]
    centre_rows = inside.flatten()[cells.cells].nonzero().squeeze(1)
    pooling = inside.double() / centre[:, None]
    return Blocks(source, cells, consecutive(centre), centre_rows, pooling[:, None])


def plan_segments(
    lengths: Tensor, left: int, centre: int, right: int, memory_slots: int | None, handed_down: Tensor | None = None
) -> Plan:
    """Cut utterances of `lengths` (B,) frames, packed in this order, with contexts in frames.

    Args:
        handed_down: (B, J) which of J slots that came before the utterance hold something, newest last; none: memory
            begins with each utterance, and nothing is handed on.
    """
    count = (lengths + centre - 1).div(centre, rounding_mode="floor")
    order = torch.argsort(count, descending=True, stable=True)
    longest = int(count.max())
    number = torch.arange(longest, device=lengths.device)
    exists = number[:, None] < count[order]
    segment, rank = exists.nonzero().unbind(1)
    utterance = order[rank]
    begin = segment * centre
    n_left = begin.clamp(max=left)
    n_centre = (lengths[utterance] - begin).clamp(max=centre)
    n_right = (lengths[utterance] - begin - centre).clamp(0, right)
    offset = lengths.cumsum(0) - lengths
    blocks = cut_blocks(offset[utterance] + begin - n_left, n_left, n_centre, n_right)
    alive = exists.sum(1)
    written = alive[1:] if handed_down is None else alive
    older = exists.new_zeros(lengths.numel(), 0) if handed_down is None else handed_down[order]
    slots, seen = _memory_columns(written, older, segment, rank, memory_slots)
    everyone = torch.arange(lengths.numel(), device=lengths.device)
    left_over = None if handed_down is None else _memory_columns(written, older, count[order], everyone, memory_slots)
    frames = _output_frames(lengths, utterance, begin, n_centre)
    return Plan(blocks, alive.tolist(), written.tolist(), slots, seen, frames, order, left_over)


def _memory_columns(
    written: Tensor, older: Tensor, segment: Tensor, rank: Tensor, memory_slots: int | None
) -> tuple[Tensor, Tensor]:
    """Slots that segment number `segment` (S,) of the `rank`-th (S,) utterance may read: (S, J) and a mask.

    Args:
        written: (N,) utterances whose slot of segment n is written.
        older: (B, J0) which slots handed down hold something, by rank.
    """
    ranks = torch.arange(older.size(0), device=segment.device)
    before = torch.arange(older.size(1), device=segment.device)
    handed = written.sum() + ranks * older.size(1) + before[:, None]
    own = (written.cumsum(0) - written)[:, None] + ranks
    place = torch.cat([handed, own])  # (J0 + N, B) slot of each moment and rank
    holds = torch.cat([older.t(), torch.ones_like(own, dtype=torch.bool)])
    columns = place.size(0) if memory_slots is None else min(place.size(0), memory_slots)
    moment = (segment + older.size(1) - columns)[:, None] + torch.arange(columns, device=segment.device)
    moment, seen, rank = moment.clamp(min=0), moment >= 0, rank[:, None]
    seen = seen & holds[moment, rank]
    return torch.where(seen, place[moment, rank], 0), seen


def _output_frames(lengths: Tensor, utterance: Tensor, begin: Tensor, count: Tensor) -> Tensor:
    """Centre row of each frame of each utterance: (B, T)."""
    cells = consecutive(count)
    width = int(lengths.max())
    table = lengths.new_full((lengths.numel(), width), int(count.sum()))
    column = torch.arange(cells.rows.size(1), device=lengths.device)
    target = (utterance * width + begin)[:, None] + column
    table.view(-1)[target[cells.filled]] = cells.rows[cells.filled]
    return table

"""Cut utterances into segments [L|C|R] and build the index tables that all layers share.

Frames are *packed*: one row per real frame, no padding rows, so that no products are computed for padding. Attention
needs rectangles; a `Cells` table maps packed rows to the cells of a rectangle.

Frames beyond the ends of an utterance are absent, not zero: the first segment has no left context, later ones have as
much as exists, the last centre may be shorter than C, and a right context ends with the utterance. Streaming cuts the
same segments, because it waits for C + R frames or for the end of the utterance.

Example: utterance A of 10 frames (0 to 9) and utterance B of 3 frames (10 to 12), with L = 2, C = 4, R = 1::

    segment          left  centre         right
    block 0: A, 1st        [0  1  2  3]   4
    block 1: B, 1st        [10 11 12]
    block 2: A, 2nd  2 3   [4  5  6  7]   8
    block 3: A, 3rd  6 7   [8  9]

    Blocks, packed rows:
        row      0  1  2  3  4 |  5  6  7 |  8  9 10 11 12 13 14 | 15 16 17 18
        source   0  1  2  3  4 | 10 11 12 |  2  3  4  5  6  7  8 |  6  7  8  9     frame of each row
        centre   *  *  *  *    |  *  *  * |        *  *  *  *    |        *  *     centre_rows
    Blocks.all, rectangle of S = 4 blocks by W = 7 cells (. = empty):
        rows     0  1  2  3  4  .  .
                 5  6  7  .  .  .  .
                 8  9 10 11 12 13 14
                15 16 17 18  .  .  .
    Plan:
        order    [A, B]        utterances by rank: most segments first
        alive    [2, 1, 1]     utterances that have a 1st, 2nd and 3rd segment
        segments [0, 0, 1, 2], ranks [0, 1, 0, 0]      of blocks 0 to 3

Types: `Cells` (rows in a rectangle), `Blocks` (segments over a table of frames), `Plan` (a batch of utterances) here,
and `augmem.encoder.index.LayerIndex` (the same per attention head). Kinds of memory have their own tables: see
`augmem.encoder.memory`.

Letters: B utterances, T frames, S segments of all utterances, P packed rows of all blocks, W cells of the widest block,
K centre rows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Cells(NamedTuple):
    """Positions of packed rows in a rectangle of S blocks.

    Args:
        rows: (S, W) packed row in each cell; empty cells hold 0.
        filled: (S, W) bool, whether a cell holds a row.
        cells: (P,) cell s * W + w of each packed row.
    """

    rows: Tensor
    filled: Tensor
    cells: Tensor

    @property
    def counts(self) -> Tensor:
        """Rows of each block (S,)."""
        return self.filled.sum(1)

    def coordinates(self) -> tuple[Tensor, Tensor]:
        """Return block and column (P,) of each packed row."""
        width = self.rows.size(1)
        return self.cells.div(width, rounding_mode="floor"), self.cells % width


class Blocks(NamedTuple):
    """S segments [L|C|R] over a table of frames.

    Args:
        source: (P,) frame of each block row, block after block.
        all: cells of whole blocks.
        centre: cells of the centres alone; their packed rows are `source[centre_rows]`.
        centre_rows: (K,) block row of each centre row.
        pooling: (S, 1, W) float64 weights that average the centre of each block.
    """

    source: Tensor
    all: Cells
    centre: Cells
    centre_rows: Tensor
    pooling: Tensor


class Plan(NamedTuple):
    """Segments of a batch of utterances: all first segments, then all second segments, and so on.

    Utterances are ranked by their number of segments, most first: those with a segment n are the first `alive[n]`
    ranks.

    Args:
        blocks: the S blocks.
        alive: number of utterances that have segment n, for each n.
        frame_of_output: (B, T) centre row of each output frame; padding refers to row K.
        order: (B,) utterance of each rank.
    """

    blocks: Blocks
    alive: list[int]
    frame_of_output: Tensor
    order: Tensor

    @property
    def counts(self) -> Tensor:
        """Number of segments of each rank (B,)."""
        ranks = torch.arange(self.alive[0], device=self.order.device)
        return (self._alive > ranks[:, None]).sum(1)

    @property
    def segments(self) -> Tensor:
        """Number of each block's segment in its utterance (S,)."""
        return torch.arange(len(self.alive), device=self.order.device).repeat_interleave(self._alive)

    @property
    def ranks(self) -> Tensor:
        """Rank of each block's utterance (S,)."""
        first = self._alive.cumsum(0) - self._alive
        return torch.arange(sum(self.alive), device=self.order.device) - first[self.segments]

    @property
    def _alive(self) -> Tensor:
        return torch.tensor(self.alive, device=self.order.device)


def consecutive(counts: Tensor) -> Cells:
    """Return the cells of blocks with `counts` (S,) rows each, packed one after the other and left-aligned."""
    width = int(counts.max())
    column = torch.arange(width, device=counts.device)
    filled = column < counts[:, None]
    rows = torch.where(filled, (counts.cumsum(0) - counts)[:, None] + column, 0)
    return Cells(rows, filled, filled.flatten().nonzero().squeeze(1))


def cut_blocks(first: Tensor, left: Tensor, centre: Tensor, right: Tensor) -> Blocks:
    """Build blocks of `left` + `centre` + `right` (S,) frames that begin at frame `first` (S,) of the frame table."""
    cells = consecutive(left + centre + right)
    column = torch.arange(cells.rows.size(1), device=first.device)
    inside = (column >= left[:, None]) & (column < (left + centre)[:, None])
    source = (first[:, None] + column).flatten()[cells.cells]
    centre_rows = inside.flatten()[cells.cells].nonzero().squeeze(1)
    pooling = inside.double() / centre[:, None]
    return Blocks(source, cells, consecutive(centre), centre_rows, pooling[:, None])


def plan_segments(lengths: Tensor, left: int, centre: int, right: int) -> Plan:
    """Cut utterances into segments.

    Args:
        lengths: (B,) frames of each utterance, packed in this order.
        left, centre, right: context sizes in frames.

    Example (the utterances of the module docstring):
        >>> plan = plan_segments(torch.tensor([10, 3]), 2, 4, 1)
        >>> plan.blocks.source.tolist()
        [0, 1, 2, 3, 4, 10, 11, 12, 2, 3, 4, 5, 6, 7, 8, 6, 7, 8, 9]
        >>> plan.alive, plan.segments.tolist(), plan.ranks.tolist(), plan.counts.tolist()
        ([2, 1, 1], [0, 0, 1, 2], [0, 1, 0, 0], [3, 1])
    """
    count = (lengths + centre - 1).div(centre, rounding_mode="floor")
    order = torch.argsort(count, descending=True, stable=True)
    number = torch.arange(int(count.max()), device=lengths.device)
    exists = number[:, None] < count[order]
    segment, rank = exists.nonzero().unbind(1)
    utterance = order[rank]
    begin = segment * centre
    n_left = begin.clamp(max=left)
    n_centre = (lengths[utterance] - begin).clamp(max=centre)
    n_right = (lengths[utterance] - begin - centre).clamp(0, right)
    offset = lengths.cumsum(0) - lengths
    blocks = cut_blocks(offset[utterance] + begin - n_left, n_left, n_centre, n_right)
    frames = _output_frames(lengths, utterance, begin, n_centre)
    return Plan(blocks, exists.sum(1).tolist(), frames, order)


def _output_frames(lengths: Tensor, utterance: Tensor, begin: Tensor, count: Tensor) -> Tensor:
    """Return the centre row of each frame of each utterance (B, T)."""
    cells = consecutive(count)
    width = int(lengths.max())
    table = lengths.new_full((lengths.numel(), width), int(count.sum()))
    column = torch.arange(cells.rows.size(1), device=lengths.device)
    target = (utterance * width + begin)[:, None] + column
    table.view(-1)[target[cells.filled]] = cells.rows[cells.filled]
    return table

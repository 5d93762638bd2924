"""Index tables of a layer: `Blocks` translated into look-ups of head vectors, built once per call for all layers.

Letters: S blocks, P packed block rows, W cells of a block, R query rows (all block rows, or the centre rows in the last
layer), Q query cells of a block, H heads, d head width, B utterances by rank, N slots of an utterance, C = J0 + N
columns of its bank, older slots first, J memory columns of a block, K blocks that read a row at most.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from augmem.encoder.config import EncoderConfig
from augmem.encoder.rows import additive, bank_rows, cell_heads, head_rows, readers_of
from augmem.encoder.segments import Blocks, Cells, Plan


class Readers(NamedTuple):
    """Positions that read each row in the look-ups of `LayerIndex`, for their gradients; None: see `rows.gather`.

    Args:
        queries: (R * H,).
        keys_values: (P * 2 * H,); None if a row is read by several blocks.
        outputs: (S * H * Q, 1).
        query_rows: (P, 1) query row of each block row, R for those without; None if all block rows are queries.
    """

    queries: Tensor | None = None
    keys_values: Tensor | None = None
    outputs: Tensor | None = None
    query_rows: Tensor | None = None


class BankIndex(NamedTuple):
    """Look-up tables of the memory bank (2, B, H, C, d) of a batch, the same for all layers.

    Args:
        writers: (B, N) block that writes each slot.
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


class LayerIndex(NamedTuple):
    """Look-up tables of one layer. All layers but the last share one set.

    Args:
        queries: (S, H, Q) query vectors in a (R * H, d) view.
        keys_values: (2, S, H, W) key and value vectors in a (P * 2 * H, d) view.
        outputs: (R, H) head vectors of each query row in the (S * H * Q, d) attention output.
        bias: (S, 1, W) additive mask: 0 for cells that hold a row, -inf for empty ones.
        pooling: (S, 1, Q) weights that average the centre's query rows.
        query_cells: (S, Q) query row in each cell.
        query_rows: (R,) block row of each query row; None if all block rows are queries.
        spaced: (P + gaps,) block row at each place of a line of blocks with gaps between them; P in a gap.
        places: (P,) place of each block row in that line.
        readers: indices of the elements that read each row, for the gradients.
    """

    queries: Tensor
    keys_values: Tensor
    outputs: Tensor
    bias: Tensor
    pooling: Tensor
    query_cells: Tensor
    query_rows: Tensor | None
    spaced: Tensor
    places: Tensor
    readers: Readers = Readers()

    def prepend_cells(self, cells: Cells, heads: int) -> LayerIndex:
        """Return tables for the same queries that attend first to the block rows in `cells`, then to their block."""
        keys_values = torch.cat([head_rows(cells.rows, heads, 2), self.keys_values], -1)
        bias = torch.cat([additive(cells.filled[:, None], self.bias), self.bias], -1)
        return self._replace(keys_values=keys_values, bias=bias, readers=self.readers._replace(keys_values=None))


def index_layers(blocks: Blocks, config: EncoderConfig, like: Tensor) -> tuple[LayerIndex, LayerIndex]:
    """Build the tables of all layers but the last, and those of the last, which computes the centres only.

    Args:
        blocks: segments of the batch.
        config: heads and kernel width.
        like: tensor with the dtype of the hidden vectors.
    """
    spaced, places = spread_blocks(blocks.all, config.convolution_kernel // 2)
    # Each cell of a centre's own rectangle holds one row, so the mean is over the filled cells.
    centre = blocks.centre
    centre_pooling = (centre.filled.double() / centre.counts[:, None])[:, None]

    def tables(queries: Cells, pooling: Tensor, query_rows: Tensor | None) -> LayerIndex:
        outputs = cell_heads(queries.cells, queries.rows.size(1), config.heads)
        return LayerIndex(
            queries=head_rows(queries.rows, config.heads, 1)[0],
            keys_values=head_rows(blocks.all.rows, config.heads, 2),
            outputs=outputs,
            bias=additive(blocks.all.filled[:, None], like),
            pooling=pooling.to(like.dtype),
            query_cells=queries.rows,
            query_rows=query_rows,
            spaced=spaced,
            places=places,
            readers=_readers(blocks, queries, query_rows, outputs, config.heads),
        )

    return tables(blocks.all, blocks.pooling, None), tables(centre, centre_pooling, blocks.centre_rows)


def _readers(blocks: Blocks, queries: Cells, query_rows: Tensor | None, outputs: Tensor, heads: int) -> Readers:
    """Return the inverse of the look-ups of a layer, whose `outputs` (R, H) are the inverse of its queries."""
    cells = blocks.all.cells
    of_head = cell_heads(cells, blocks.all.rows.size(1), heads)
    parts = torch.stack([of_head, of_head + blocks.all.rows.numel() * heads], 1)
    vectors = head_rows(queries.rows, heads, 1)[0].masked_fill(~queries.filled[:, None], outputs.numel())
    rows = None
    if query_rows is not None:
        rows = query_rows.new_full((cells.numel(),), query_rows.numel())
        rows[query_rows] = torch.arange(query_rows.numel(), device=rows.device)
        rows = rows[:, None]
    return Readers(outputs.flatten(), parts.flatten(), vectors.view(-1, 1), rows)


def index_bank(plan: Plan, config: EncoderConfig, like: Tensor) -> BankIndex | None:
    """Build the tables of the memory bank; None if no block has memory.

    Args:
        like: tensor with the dtype of the hidden vectors.
    """
    (S, J), (B, N), H = plan.slots.shape, plan.writers.shape, config.heads
    if J == 0:
        return None
    head = torch.arange(H, device=like.device)[:, None]
    columns = plan.older.size(1) + N
    return BankIndex(
        writers=plan.writers,
        summaries=plan.writers[:, None] * H + head,
        summaries_readers=_summaries_readers(plan.writers, S, H),
        hidden=additive(_visible(plan, config.memory_slots), like),
        slots=bank_rows(plan.slots, columns, H, B),
        slots_readers=_slots_readers(plan, columns, H),
        bias=additive(torch.cat([plan.seen, plan.blocks.all.filled], 1)[:, None], like),
    )


def _visible(plan: Plan, memory_slots: int | None) -> Tensor:
    """Return which slots, older ones first, the summary query of each slot attends to: (B, N, C) bool."""
    B, N = plan.writers.shape
    held = torch.cat([plan.older, plan.older.new_ones(B, N)], 1)
    column = torch.arange(held.size(1), device=held.device)
    end = torch.arange(N, device=held.device)[:, None] + plan.older.size(1)
    first = torch.zeros_like(end) if memory_slots is None else end - memory_slots
    return held[:, None] & (column >= first) & (column < end)


def _summaries_readers(writers: Tensor, blocks: int, heads: int) -> Tensor:
    """Return the inverse of `BankIndex.summaries`: (S * H, 1)."""
    B, N = writers.shape
    rank, segment, head = (torch.arange(n, device=writers.device) for n in (B, N, heads))
    places = writers.new_full((blocks, heads), B * heads * N)
    places[writers] = (rank[:, None, None] * heads + head) * N + segment[:, None]
    places[0] = head * N  # also stands for slots that do not exist
    return places.view(-1, 1)


def _slots_readers(plan: Plan, columns: int, heads: int) -> Tensor:
    """Return the inverse of `BankIndex.slots`: (2 * B * H * C, K)."""
    S, J = plan.slots.shape
    place = readers_of(plan.slots, plan.seen, plan.older.size(0) * columns)
    vectors = bank_rows(place, J, heads, S).masked_fill(place[:, None] == S * J, 2 * S * heads * J)  # (2, B * C, H, K)
    by_head = vectors.unflatten(1, (-1, columns)).transpose(2, 3)
    return by_head.reshape(-1, place.size(1))


def spread_blocks(cells: Cells, gap: int) -> tuple[Tensor, Tensor]:
    """Lay blocks out in one line, `gap` places apart; return the row at each place (P in gaps) and the place of each
    row."""
    size = cells.cells.size(0)
    block, _ = cells.coordinates()
    places = torch.arange(size, device=block.device) + gap * (block + 1)
    spaced = torch.full((size + gap * (cells.rows.size(0) + 1),), size, device=block.device)
    spaced[places] = torch.arange(size, device=block.device)
    return spaced, places

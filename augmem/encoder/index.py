"""Index tables of a layer: `Blocks` translated into look-ups of head vectors, built once per call for all layers.

Letters: S blocks, P packed block rows, W cells of a block, R query rows (all block rows, or the centre rows in the last
layer), Q query cells of a block, H heads, d head width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from augmem.encoder.config import EncoderConfig
from augmem.encoder.rows import additive, cell_heads, head_rows
from augmem.encoder.segments import Blocks, Cells


class LayerIndex(NamedTuple):
    """Look-up tables of one layer. All layers but the last share one set.

    Args:
        queries: (S, H, Q) query vectors in a (R * H, d) view.
        keys_values: (2, S, H, W) key and value vectors in a (P * 2 * H, d) view.
        outputs: (R, H) head vectors of each query row in the (S * H * Q, d) attention output.
        bias: (S, 1, W) additive mask: 0 for cells that hold a row, -inf for empty ones.
        pooling: (S, 1, Q) weights that average the centre's query rows.
        centre: (S, 1, W) weights that average the centre's block rows.
        query_cells: (S, Q) query row in each cell.
        query_rows: (R,) block row of each query row; None if all block rows are queries.
        spaced: (P + gaps,) block row at each position of a line of blocks with gaps between them; P in a gap.
        positions: (P,) position of each block row in that line.
        query_readers: (R * H,) position in `queries` that reads each vector, for the gradient (see `rows.gather`).
        key_value_readers: (P * 2 * H,) the same of `keys_values`; None if a row is read by several blocks.
        output_readers: (S * H * Q, 1) the same of `outputs`.
        query_row_readers: (P, 1) query row of each block row, R for those without; None if all block rows are queries.
    """

    queries: Tensor
    keys_values: Tensor
    outputs: Tensor
    bias: Tensor
    pooling: Tensor
    centre: Tensor
    query_cells: Tensor
    query_rows: Tensor | None
    spaced: Tensor
    positions: Tensor
    query_readers: Tensor | None = None
    key_value_readers: Tensor | None = None
    output_readers: Tensor | None = None
    query_row_readers: Tensor | None = None

    def prepend_cells(self, cells: Cells, heads: int) -> LayerIndex:
        """Return tables for the same queries that attend first to the block rows in `cells`, then to their block."""
        keys_values = torch.cat([head_rows(cells.rows, heads, 2), self.keys_values], -1)
        bias = torch.cat([additive(cells.filled[:, None], self.bias), self.bias], -1)
        return self._replace(keys_values=keys_values, bias=bias, key_value_readers=None)


def index_layers(blocks: Blocks, config: EncoderConfig, like: Tensor) -> tuple[LayerIndex, LayerIndex]:
    """Build the tables of all layers but the last, and those of the last, which computes the centres only.

    Args:
        blocks: segments of the batch.
        config: heads and kernel width.
        like: tensor with the dtype of the hidden vectors.
    """
    spaced, positions = spread_blocks(blocks.all, config.convolution_kernel // 2)
    # Each cell of a centre's own rectangle holds one row, so the mean is over the filled cells.
    centre = blocks.centre
    centre_pooling = (centre.filled.double() / centre.counts[:, None])[:, None].to(like.dtype)
    pooling = blocks.pooling.to(like.dtype)
    keys_values = head_rows(blocks.all.rows, config.heads, 2)
    key_value_readers = _key_value_readers(blocks.all, config.heads)
    bias = additive(blocks.all.filled[:, None], like)

    def tables(queries: Cells, query_pooling: Tensor, query_rows: Tensor | None) -> LayerIndex:
        outputs = cell_heads(queries.cells, queries.rows.size(1), config.heads)
        vectors = head_rows(queries.rows, config.heads, 1)[0]
        return LayerIndex(
            queries=vectors,
            keys_values=keys_values,
            outputs=outputs,
            bias=bias,
            pooling=query_pooling,
            centre=pooling,
            query_cells=queries.rows,
            query_rows=query_rows,
            spaced=spaced,
            positions=positions,
            query_readers=outputs.flatten(),
            key_value_readers=key_value_readers,
            output_readers=vectors.masked_fill(~queries.filled[:, None], outputs.numel()).view(-1, 1),
            query_row_readers=None if query_rows is None else _query_row_readers(query_rows, blocks.source.numel()),
        )

    return tables(blocks.all, pooling, None), tables(centre, centre_pooling, blocks.centre_rows)


def _key_value_readers(cells: Cells, heads: int) -> Tensor:
    """Return the inverse of `LayerIndex.keys_values`."""
    vectors = cell_heads(cells.cells, cells.rows.size(1), heads)
    return torch.stack([vectors, vectors + cells.rows.numel() * heads], 1).flatten()


def _query_row_readers(query_rows: Tensor, rows: int) -> Tensor:
    """Return the inverse of `LayerIndex.query_rows` for a table of `rows` block rows."""
    readers = query_rows.new_full((rows,), query_rows.numel())
    readers[query_rows] = torch.arange(query_rows.numel(), device=readers.device)
    return readers[:, None]


def spread_blocks(cells: Cells, gap: int) -> tuple[Tensor, Tensor]:
    """Lay blocks out in one line, `gap` positions apart; return the row at each position (P in gaps) and the position
    of each row."""
    size = cells.cells.size(0)
    block, _ = cells.coordinates()
    positions = torch.arange(size, device=block.device) + gap * (block + 1)
    spaced = torch.full((size + gap * (cells.rows.size(0) + 1),), size, device=block.device)
    spaced[positions] = torch.arange(size, device=block.device)
    return spaced, positions

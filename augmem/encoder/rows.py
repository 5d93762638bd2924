"""Move rows between packed tables and rectangles."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gather(table: Tensor, index: Tensor) -> Tensor:
    """Return the rows of `table` (P, D) at `index` (...): (..., D). Embedding has the fastest gradient of all
    gathers."""
    return F.embedding(index, table)


def unpack(rows: Tensor, index: Tensor) -> Tensor:
    """Return rows (K, D) at `index` (B, T): (B, T, D); index K gives a zero row."""
    return gather(F.pad(rows, (0, 0, 0, 1)), index)


def head_rows(rows: Tensor, heads: int, parts: int) -> Tensor:
    """Return the positions of the head vectors of each row in a (P * parts * heads, d) view: (parts, S, H, W).

    Args:
        rows: (S, W) packed rows.
        heads: H, attention heads.
        parts: vectors per row and head: 1 for queries, 2 for keys and values.
    """
    part = torch.arange(parts, device=rows.device)[:, None, None, None]
    head = torch.arange(heads, device=rows.device)[:, None]
    return (rows[:, None, :] * parts + part) * heads + head


def cell_heads(cells: Tensor, width: int, heads: int) -> Tensor:
    """Return the positions of the heads of packed rows in a (S * H * W, d) view: (P, H).

    Args:
        cells: (P,) cell s * W + w of each packed row.
        width: W, cells of a block.
        heads: H, attention heads.
    """
    segment = cells.div(width, rounding_mode="floor")
    head = torch.arange(heads, device=cells.device)
    return (segment[:, None] * heads + head) * width + (cells - segment * width)[:, None]


def take(x: Tensor, start: Tensor, width: int) -> Tensor:
    """Return `width` steps of each sequence of `x` (B, T, ...) from step `start` (B,): (B, width, ...).

    Steps beyond the end repeat the last one; the caller must mask them.
    """
    index = (start[:, None] + torch.arange(width, device=x.device)).clamp(max=x.size(1) - 1)
    return x[torch.arange(x.size(0), device=x.device)[:, None], index]


def additive(filled: Tensor, like: Tensor) -> Tensor:
    """Return an additive attention mask: 0 where `filled`, -inf elsewhere, with dtype and device of `like`."""
    zero = torch.zeros(filled.shape, dtype=like.dtype, device=like.device)
    return zero.masked_fill(~filled, float("-inf"))


def newest(count: Tensor, columns: int, like: Tensor) -> Tensor:
    """Return an additive mask (S, 1, columns) that shows the right-most `count` (S,) columns."""
    from_right = torch.arange(columns, 0, -1, device=count.device)
    return additive((from_right <= count[:, None])[:, None], like)

"""Moving rows between packed tables and rectangles."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gather(table: Tensor, index: Tensor) -> Tensor:
    """Rows of `table` (P, D) at `index` (...): (..., D). As an embedding look-up: its gradient is the
    fastest."""
    return F.embedding(index, table)


def head_rows(rows: Tensor, heads: int, parts: int) -> Tensor:
    """Where `parts` x `heads` vectors of each row stand in a (P * parts * heads, d) view: (parts, S, H, W).

    Args:
        rows: (S, W) packed rows.
    """
    part = torch.arange(parts, device=rows.device)[:, None, None, None]
    head = torch.arange(heads, device=rows.device)[:, None]
    return (rows[:, None, :] * parts + part) * heads + head


def cell_heads(cells: Tensor, width: int, heads: int) -> Tensor:
    """Where the heads of packed rows stand in a (S * H * W, d) view: (P, H).

    Args:
        cells: (P,) cell s * W + w of each packed row.
    """
    segment = cells.div(width, rounding_mode="floor")
    head = torch.arange(heads, device=cells.device)
    return (segment[:, None] * heads + head) * width + (cells - segment * width)[:, None]


def take(x: Tensor, start: Tensor, width: int) -> Tensor:
    """`width` steps of each sequence of `x` (B, T, ...) from step `start` (B,): (B, width, ...).

    Steps behind the end repeat the last one: the caller masks them.
    """
    index = (start[:, None] + torch.arange(width, device=x.device)).clamp(max=x.size(1) - 1)
    return x[torch.arange(x.size(0), device=x.device)[:, None], index]


def additive(filled: Tensor, like: Tensor) -> Tensor:
    """0 where `filled`, -inf elsewhere, to be added to attention scores; dtype and device of `like`."""
    zero = torch.zeros(filled.shape, dtype=like.dtype, device=like.device)
    return zero.masked_fill(~filled, float("-inf"))

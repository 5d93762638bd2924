"""Move rows between packed tables and rectangles."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def gather(table: Tensor, index: Tensor, readers: Tensor | None = None) -> Tensor:
    """Return the rows of `table` (P, D) at `index` (...): (..., D).

    Args:
        readers: positions in the flattened index that read each row: (P,) if one reads it, else (P, K), filled up with
            the size of the index; see `readers_of`. The gradient then gathers too, instead of sorting the index and
            adding up. Positions that are left out must have no gradient. None: the gradient of an embedding, the
            fastest of those that need no such table.
    """
    if readers is None or not torch.is_grad_enabled():
        return F.embedding(index, table)
    return _Gather.apply(table, index, readers)


class _Gather(torch.autograd.Function):
    """See `gather`."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor, readers: Tensor) -> Tensor:
        ctx.save_for_backward(readers)
        return F.embedding(index, table)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (readers,) = ctx.saved_tensors
        rows = gradient.reshape(-1, gradient.size(-1))
        if readers.dim() == 1:
            return rows.index_select(0, readers), None, None
        filled = torch.cat([rows, rows.new_zeros(1, rows.size(1))])
        found = filled.index_select(0, readers.flatten())
        return found if readers.size(1) == 1 else found.view(*readers.shape, -1).sum(1), None, None


def readers_of(index: Tensor, filled: Tensor, rows: int) -> Tensor:
    """Return the positions in the flattened `index` (...) that read each of `rows` rows: (rows, K).

    Args:
        filled: bool (...), positions that count.

    Example:
        >>> readers_of(torch.tensor([[2, 0], [0, 0]]), torch.tensor([[True, True], [True, False]]), 3)
        tensor([[1, 2],
                [4, 4],
                [0, 4]])
    """
    positions = filled.flatten().nonzero().squeeze(1)
    read, order = index.flatten()[positions].sort(stable=True)
    counts = torch.bincount(read, minlength=rows)
    number = torch.arange(read.numel(), device=read.device) - (counts.cumsum(0) - counts)[read]
    table = index.new_full((rows, max(int(counts.max()) if rows else 0, 1)), index.numel())
    table[read, number] = positions[order]
    return table


def unpack(rows: Tensor, index: Tensor, readers: Tensor | None = None) -> Tensor:
    """Return rows (K, D) at `index` (B, T): (B, T, D); index K gives a zero row.

    Args:
        readers: see `gather`; of K + 1 rows.
    """
    return gather(F.pad(rows, (0, 0, 0, 1)), index, readers)


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


def bank_rows(slots: Tensor, columns: int, heads: int, utterances: int) -> Tensor:
    """Return the positions of the keys and values of slots in a (2 * B * H * C, d) view of a bank: (2, S, H, J).

    Args:
        slots: (S, J) slot b * C + c in column c of utterance b.
        columns: C, columns of the bank of an utterance.
        heads: H, attention heads.
        utterances: B.
    """
    utterance = slots.div(columns, rounding_mode="floor")[:, None]
    part = torch.arange(2, device=slots.device)[:, None, None, None]
    head = torch.arange(heads, device=slots.device)[:, None]
    return ((part * utterances + utterance) * heads + head) * columns + slots[:, None] % columns


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


def newest(count: Tensor, columns: int) -> Tensor:
    """Return which of `columns` columns are the right-most `count` (S,) ones: bool (S, columns)."""
    return torch.arange(columns, 0, -1, device=count.device) <= count[:, None]

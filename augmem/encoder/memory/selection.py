"""Slots with scores, of which a limited number is kept: the state of `augmem.encoder.memory.selected`.

Letters: B streams, J memory columns, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from augmem.encoder.rows import additive, newest
from augmem.encoder.state import Memory


@dataclass(frozen=True)
class Selection(Memory):
    """Slots of all layers: `values` are slots with their scores (B, layers, J, D + 1) in the order of their segments,
    and the right-most `count` columns are filled."""

    def held(self) -> Tensor:
        """Return which columns are filled (B, J)."""
        return newest(self.count, self.values.size(2))

    def mask(self) -> Tensor:
        return additive(self.held()[:, None], self.values)

    def write(self, written: Tensor, limit: int | None) -> Selection:
        """Append slots (B, layers, 1, D + 1); beyond `limit`, drop the one with the lowest score, of equal ones the
        oldest."""
        grown = Selection(torch.cat([self.values, written], 2), self.count + 1)
        size = grown.values.size(2)
        if limit is None or size <= limit:
            return grown
        scores = grown.values[..., -1].masked_fill(~grown.held()[:, None], float("-inf"))
        column = torch.arange(size - 1, device=scores.device)
        kept = column + (column >= scores.argmin(2, keepdim=True)).to(column.dtype)
        return replace(grown, values=take_columns(grown.values, kept))

    @classmethod
    def _align(cls, groups: Sequence[Selection]) -> Sequence[Selection]:
        width = max(group.values.size(2) for group in groups)
        return [replace(group, values=F.pad(group.values, (0, 0, width - group.values.size(2), 0))) for group in groups]


def take_columns(values: Tensor, columns: Tensor) -> Tensor:
    """Return the columns (B, layers, M) of `values` (B, layers, J, D + 1)."""
    return values.gather(2, columns[..., None].expand(*columns.shape, values.size(3)))


def best_columns(scores: Tensor, count: int) -> Tensor:
    """Return which `count` columns have the highest scores, of equal ones the newest.

    Args:
        scores: (..., J); -inf in empty columns.
        count: at most J.

    Example:
        >>> best_columns(torch.tensor([2.0, 1.0, 3.0, 1.0]), 3)
        tensor([ True, False,  True,  True])
    """
    newest_first = torch.sort(scores.flip(-1), dim=-1, descending=True, stable=True).indices
    chosen = scores.size(-1) - 1 - newest_first[..., :count]
    return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, chosen, True)

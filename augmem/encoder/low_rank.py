"""Key and value projections of low rank, chosen after training from the weights alone (LoRC, arXiv 2410.03111).

W_k and W_v of a layer are replaced by their best approximations of rank r, truncated singular value decompositions::

    W_k ~ B_k A_k,  W_v ~ B_v A_v              A (r, D), B (D, r): 4 r D weights instead of 2 D^2

An error in a layer passes through all layers above it, at most scaled by their condition numbers, so the lowest layers
keep the highest ranks. With the condition number kappa, the largest singular value divided by the smallest::

    c_l = sum of log kappa(W_k) + log kappa(W_v) over the layers l, l + 1, ...      cumulative condition number
    r_l = D (first - (first - last) (max c - c_l) / (max c - min c))

Keys and values keep their width D, also those of memory slots.

Letters: P rows, D model width, r rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LowRankProjection(nn.Module):
    """Keys and values of rows, with W_k and W_v as products of two matrices.

    Args:
        dim: model width D.
        rank: rank r of W_k and of W_v.

    Example:
        >>> LowRankProjection(dim=8, rank=2)(torch.zeros(5, 8)).shape
        torch.Size([5, 16])
    """

    def __init__(self, dim: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(dim, 2 * rank, bias=False)
        self.keys = nn.Linear(rank, dim)
        self.values = nn.Linear(rank, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map rows (P, D) to keys and values (P, 2 * D)."""
        keys, values = self.down(x).chunk(2, -1)
        return torch.cat([self.keys(keys), self.values(values)], -1)

    @property
    def weight(self) -> Tensor:
        """W_k and W_v, multiplied out (2 * D, D)."""
        keys, values = self.down.weight.chunk(2)
        return torch.cat([self.keys.weight @ keys, self.values.weight @ values])

    @property
    def bias(self) -> Tensor:
        """Their biases (2 * D,)."""
        return torch.cat([self.keys.bias, self.values.bias])


def make_projection(dim: int, rank: int | None) -> nn.Linear | LowRankProjection:
    """Return a projection to keys and values; from half the full rank on, a single matrix is smaller than two.

    Args:
        dim: model width D.
        rank: rank of W_k and of W_v; None: full.
    """
    return nn.Linear(dim, 2 * dim) if rank is None or 2 * rank >= dim else LowRankProjection(dim, rank)


def choose_ranks(weights: Sequence[Tensor], first: float, last: float) -> tuple[int, ...]:
    """Choose a rank for each layer by its cumulative condition number.

    Args:
        weights: W_k and W_v (2 * D, D) of each layer, lowest first.
        first: rank of the first layer as a share of D.
        last: rank of the last layer as a share of D.

    Example:
        >>> weight = torch.cat([torch.linspace(1, 2, 8).diag()] * 2)
        >>> choose_ranks([weight] * 3, first=1.0, last=0.25)
        (8, 5, 2)
    """
    logs = torch.stack([_log_condition(weight) for weight in weights])
    cumulative = logs.flip(0).cumsum(0).flip(0)  # never rises from layer to layer
    fall = (cumulative[0] - cumulative) / (cumulative[0] - cumulative[-1]).clamp(min=1e-9)
    shares = first - (first - last) * fall
    return tuple(max(1, round(share * weights[0].size(1))) for share in shares.tolist())


def _log_condition(weight: Tensor) -> Tensor:
    """Return log kappa(W_k) + log kappa(W_v); singular values of zero count as the smallest that can be resolved."""
    values = torch.linalg.svdvals(weight.double().view(2, -1, weight.size(1)))
    largest = values[:, 0].clamp(min=torch.finfo(weight.dtype).tiny)
    smallest = values[:, -1].maximum(torch.finfo(weight.dtype).eps * largest)
    return (largest / smallest).log().sum()


def truncate(weight: Tensor, bias: Tensor, rank: int) -> dict[str, Tensor]:
    """Return the weights of the projection of `make_projection` that approximates W_k and W_v best.

    Args:
        weight: W_k and W_v (2 * D, D).
        bias: (2 * D,).
        rank: rank of each; with D the weights stay as they are.
    """
    dim = weight.size(1)
    if rank >= dim:
        return {"weight": weight, "bias": bias}
    left, values, right = torch.linalg.svd(weight.double().view(2, dim, dim))
    up = (left[:, :, :rank] * values[:, None, :rank].sqrt()).to(weight.dtype)
    down = (values[:, :rank, None].sqrt() * right[:, :rank]).to(weight.dtype)
    if isinstance(make_projection(dim, rank), nn.Linear):
        return {"weight": torch.matmul(up, down).flatten(0, 1), "bias": bias}
    parts = {"down.weight": down.flatten(0, 1)}
    for part, name in enumerate(("keys", "values")):
        parts |= {f"{name}.weight": up[part], f"{name}.bias": bias.chunk(2)[part]}
    return parts

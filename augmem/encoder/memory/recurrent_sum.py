"""Recurrent sum of keys and values: queries read the products K^T V of all earlier segments, in a constant size.

Source: Long, Chowdhury, Roy, "Segmented Recurrent Transformer", arXiv 2305.16340, in which queries add attention to a
recurrent sum of K^T V over segments to the attention within their segment. Its accumulate-and-fire neurons are a leaky
sum here, with the feature map and the normaliser of linear attention (Katharopoulos et al., arXiv 2006.16236). For each
head, with f(x) = elu(x) + 1, the share a of the head, and the mean over the centre frames t of segment n::

    S_n = a S_{n-1} + mean of f(k_t)^T v_t               S_0 = 0
    z_n = a z_{n-1} + mean of f(k_t)                     z_0 = 0
    Z   = W_o (softmax(Q K^T / sqrt(d)) V + f(Q) S_{n-1} / (f(Q) z_{n-1}^T))

The added term is a weighted mean of values, whatever the length of the stream; S_n and z_n are at most 1 / (1 - a)
times the largest contribution. Before training, shares are 0.5 (the first head) to 0.98 (the last).

Letters: S blocks, Q query cells, W cells of a block, H heads, d head width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augmem.encoder.config import EncoderConfig
from augmem.encoder.index import LayerIndex
from augmem.encoder.memory.recurrence import RecurrentMemory
from augmem.encoder.segments import Plan

if TYPE_CHECKING:
    from augmem.encoder.attention import AugmentedMemoryAttention, Projections

_LEAST = 1e-6  # of the normaliser, which is zero in the first segment


class RecurrentSum(RecurrentMemory):
    """See the module docstring; the memory of a layer is (H, d, d + 1): S_n, and z_n as its last column."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.share = nn.Parameter(torch.linspace(0, 4, config.heads))  # logit of a

    @classmethod
    def bank_size(cls, config: EncoderConfig) -> int:
        return 0

    @classmethod
    def shape(cls, config: EncoderConfig, slots: int) -> tuple[int, ...]:
        width = config.dim // config.heads
        return (config.heads, width, width + 1)

    @classmethod
    def count_columns(cls, plan: Plan, config: EncoderConfig) -> Tensor:
        return torch.zeros_like(plan.segments)

    def contribute(
        self, attention: AugmentedMemoryAttention, block: Projections, queries: Tensor, index: LayerIndex
    ) -> tuple[Tensor, Tensor]:
        keys = feature_map(block.keys) * index.centre[..., None]
        products = torch.matmul(keys.transpose(2, 3), F.pad(block.values, (0, 1), value=1.0))
        return F.logsigmoid(self.share).expand(products.shape[:2]), products.flatten(2)

    def read(
        self, attention: AugmentedMemoryAttention, block: Projections, index: LayerIndex, memory: Tensor
    ) -> Tensor:
        sums = torch.matmul(feature_map(block.queries), memory)
        past = sums[..., :-1] / sums[..., -1:].clamp(min=_LEAST)
        return attention.merge_heads(attention.attend_heads(block.queries, block, None, index.bias) + past, index)


def feature_map(x: Tensor) -> Tensor:
    """Return elu(x) + 1, which is positive."""
    return F.elu(x) + 1

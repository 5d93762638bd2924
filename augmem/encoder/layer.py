"""A transformer layer: [convolution], augmented-memory attention and feed-forward, each with pre-norm and residual.

Letters: S blocks, P packed block rows, R query rows, K kernel width, D model width, H heads, d head width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from augmem.encoder.attention import AugmentedMemoryAttention
from augmem.encoder.config import EncoderConfig
from augmem.encoder.dropout import Dropout
from augmem.encoder.index import LayerIndex
from augmem.encoder.norm import LayerNorm
from augmem.encoder.rows import gather

_ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU}


def recompute_in_backward(function: Callable[..., Any], *inputs: Any) -> Any:
    """Call `function(*inputs)` and recompute its inner values for the gradient, with the same dropout masks."""
    return checkpoint(function, *inputs, use_reentrant=False)


class FeedForward(nn.Module):
    """Two linear layers with an activation in between.

    With `feedforward_slices` > 1, training computes rows in slices and recomputes each for the gradient (arXiv
    2407.15892).
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.expand = nn.Linear(config.dim, config.feedforward_dim)
        self.activation = _ACTIVATIONS[config.activation]()
        self.dropout = Dropout(config.dropout)
        self.output = nn.Linear(config.feedforward_dim, config.dim)
        self.slices = config.feedforward_slices

    def forward(self, x: Tensor) -> Tensor:
        """Map rows (P, D) to (P, D)."""
        if self.slices == 1 or not torch.is_grad_enabled():
            return self._rows(x)
        return torch.cat([recompute_in_backward(self._rows, piece) for piece in x.chunk(self.slices)])

    def _rows(self, x: Tensor) -> Tensor:
        return self.output(self.dropout(self.activation(self.expand(x))))


class BlockConvolution(nn.Module):
    """Gated depthwise convolution along time inside each block, with zeros beyond the ends of the block.

    A block is one unit in training and in streaming, so both give the same outputs, and no look-ahead is added.

    Args:
        dim: model width D.
        kernel: kernel width K.
        ahead: taps after the frame of the output, less than K; None: as many as before it, with an odd K.
    """

    def __init__(self, dim: int, kernel: int, ahead: int | None = None) -> None:
        super().__init__()
        self.before = kernel // 2 if ahead is None else kernel - 1 - ahead
        self.gate = nn.Linear(dim, 2 * dim)
        self.taps = nn.Parameter(torch.empty(kernel, dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.output = nn.Linear(dim, dim)
        nn.init.uniform_(self.taps, -(kernel**-0.5), kernel**-0.5)

    def forward(self, x: Tensor, spaced: Tensor, positions: Tensor) -> Tensor:
        """Convolve packed block rows `x` (P, D): (P, D)."""
        gated = F.glu(self.gate(x), -1).to(self.taps.dtype)
        return self.output(F.silu(depthwise(gated, self.taps, spaced, positions, self.before) + self.bias))


def depthwise(x: Tensor, taps: Tensor, spaced: Tensor, positions: Tensor, before: int) -> Tensor:
    """Convolve each column of packed block rows `x` (P, D) with its column of `taps` (K, D), block by block: (P, D).

    Args:
        spaced, positions: see `LayerIndex`; gaps must have as many positions as taps on either side of a frame.
        before: taps before the frame of the output.
    """
    if torch.is_grad_enabled():
        return _Depthwise.apply(x, taps, spaced, positions, before)
    return _correlate(_spread(x, spaced), taps, positions - before)


class _Depthwise(torch.autograd.Function):
    """`depthwise` with a gradient that gathers: `spaced` and `positions` are inverse to each other, so no scatter is
    needed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: Tensor, spaced: Tensor, positions: Tensor, before: int) -> Tensor:
        line = _spread(x, spaced)
        ctx.save_for_backward(line, taps, spaced, positions)
        ctx.before = before
        return _correlate(line, taps, positions - before)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        line, taps, spaced, positions = ctx.saved_tensors
        outer = _spread(gradient, spaced)
        inner = outer[ctx.before :][: outer.size(0) - taps.size(0) + 1]
        for_taps = [(line[k : k + inner.size(0)] * inner).sum(0) for k in range(taps.size(0))]
        for_x = _correlate(outer, taps.flip(0), positions - (taps.size(0) - 1 - ctx.before))
        return for_x, torch.stack(for_taps), None, None, None


def _spread(x: Tensor, spaced: Tensor) -> Tensor:
    """Lay packed rows (P, D) out in a line with zero rows between blocks."""
    return gather(F.pad(x, (0, 0, 0, 1)), spaced)


def _correlate(line: Tensor, taps: Tensor, first: Tensor) -> Tensor:
    """Return the sum of taps[k] * line[first + k] over k for each position in `first`.

    Shifted products are faster than `conv1d` with one channel per group, which copies rows to another layout and back.
    """
    kernel = taps.size(0)
    inner = line.size(0) - kernel + 1
    total = line[:inner] * taps[0]
    for k in range(1, kernel):
        total.addcmul_(line[k : k + inner], taps[k])
    return gather(total, first)


class AugmentedMemoryLayer(nn.Module):
    """Pre-norm transformer layer over packed block rows.

    Args:
        config: sizes and options of the encoder.
        rank: rank of the key and value projections; None: full.
    """

    def __init__(self, config: EncoderConfig, rank: int | None = None) -> None:
        super().__init__()
        dim = config.dim
        self.convolves = config.convolution_kernel > 0
        self.convolution_norm = LayerNorm(dim) if self.convolves else nn.Identity()
        self.convolution = BlockConvolution(dim, config.convolution_kernel) if self.convolves else None
        self.attention_norm = LayerNorm(dim)
        self.attention = AugmentedMemoryAttention(config, rank)
        self.feedforward_norm = LayerNorm(dim)
        self.feedforward = FeedForward(config)
        self.output_norm = LayerNorm(dim) if config.third_layer_norm else nn.Identity()
        self.dropout = Dropout(config.dropout)

    def forward(
        self, x: Tensor, index: LayerIndex, tables: Any = None, older: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Compute the parallel form for block rows `x` (P, D); see `AugmentedMemoryAttention.forward`."""
        x = self._convolve(x, index)
        h = self.attention_norm(x)
        x, q = self._queries(x, h, index)
        z, written = self.attention(q, h, index, tables, older)
        return self._finish(x, z), written

    def step(self, x: Tensor, index: LayerIndex, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the streaming form for block rows `x` (P, D); see `AugmentedMemoryAttention.step`."""
        x = self._convolve(x, index)
        h = self.attention_norm(x)
        x, q = self._queries(x, h, index)
        z, written = self.attention.step(q, h, index, memory, mask)
        return self._finish(x, z), written

    def _convolve(self, x: Tensor, index: LayerIndex) -> Tensor:
        if self.convolution is None:
            return x
        return x + self.dropout(self.convolution(self.convolution_norm(x), index.spaced, index.positions))

    def _queries(self, x: Tensor, h: Tensor, index: LayerIndex) -> tuple[Tensor, Tensor]:
        """Select the query rows (R, D) of residual stream `x` and normalised rows `h`."""
        if index.query_rows is None:
            return x, h
        return tuple(gather(rows, index.query_rows, index.query_row_readers) for rows in (x, h))

    def _finish(self, x: Tensor, z: Tensor) -> Tensor:
        """Add attention output `z` (R, D) and the feed-forward block."""
        x = x + self.dropout(z)
        x = x + self.dropout(self.feedforward(self.feedforward_norm(x)))
        return self.output_norm(x)

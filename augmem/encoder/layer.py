"""One layer: [convolution], augmented-memory attention and feed-forward, each normalised first and then
added."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from augmem.encoder.attention import AugmentedMemoryAttention, BlockIndex, MemoryIndex, index_blocks
from augmem.encoder.config import EncoderConfig
from augmem.encoder.dropout import Dropout
from augmem.encoder.norm import LayerNorm
from augmem.encoder.rows import gather
from augmem.encoder.segments import Blocks, Cells

_ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU}


class LayerIndex(NamedTuple):
    """Tables one layer works with; every layer but the last shares one set.

    attention: tables of attention.
    query_rows: (R,) block rows that are queries and reach the output: all, or the last layer's centre rows.
    shrinks: whether these are fewer than all.
    spaced: (P + gaps,) block row at each place of a line of blocks with gaps between, gaps pointing to row P.
    places: (P,) place in that line of each block row.
    """

    attention: BlockIndex
    query_rows: Tensor
    shrinks: bool
    spaced: Tensor
    places: Tensor


def index_layers(blocks: Blocks, config: EncoderConfig, like: Tensor) -> tuple[LayerIndex, LayerIndex]:
    """Tables for all layers but the last, and for the last, which computes only what is kept: the centres."""
    spaced, places = spread_blocks(blocks.all, config.convolution_kernel // 2)
    size = blocks.source.size(0)
    everything = torch.arange(size, device=spaced.device)
    # pooling over a centre's own cells: each holds one row, so the mean is over what is filled
    filled = blocks.centre.filled
    centre_pooling = (filled.double() / filled.sum(1, keepdim=True))[:, None]
    lower = index_blocks(blocks, blocks.all, blocks.pooling, config.heads, like)
    last = index_blocks(blocks, blocks.centre, centre_pooling, config.heads, like)
    return (
        LayerIndex(lower, everything, False, spaced, places),
        LayerIndex(last, blocks.centre_rows, True, spaced, places),
    )


def spread_blocks(cells: Cells, gap: int) -> tuple[Tensor, Tensor]:
    """Lay blocks in one line, `gap` places apart: the row at each place (P for gaps), the place of each
    row."""
    size = cells.cells.size(0)
    block, _ = cells.coordinates()
    places = torch.arange(size, device=block.device) + gap * (block + 1)
    spaced = torch.full((size + gap * (cells.rows.size(0) + 1),), size, device=block.device)
    spaced[places] = torch.arange(size, device=block.device)
    return spaced, places


def recomputed(function: Callable[..., Any], *inputs: Any) -> Any:
    """`function(*inputs)`, whose inner values are computed again for the gradient, with the same dropout."""
    return checkpoint(function, *inputs, use_reentrant=False)


class FeedForward(nn.Module):
    """Two linear layers with an activation between: (P, D) -> (P, D)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.expand = nn.Linear(config.dim, config.feedforward_dim)
        self.activation = _ACTIVATIONS[config.activation]()
        self.dropout = Dropout(config.dropout)
        self.output = nn.Linear(config.feedforward_dim, config.dim)
        self.slices = config.feedforward_slices

    def forward(self, x: Tensor) -> Tensor:
        if self.slices == 1 or not torch.is_grad_enabled():
            return self._all(x)
        return torch.cat([recomputed(self._all, piece) for piece in x.chunk(self.slices)])

    def _all(self, x: Tensor) -> Tensor:
        return self.output(self.dropout(self.activation(self.expand(x))))


class BlockConvolution(nn.Module):
    """Gated depthwise convolution along time inside each block, with zeros beyond the block's ends.

    A block is a unit in training and in streaming alike, so both give the same outputs, and no look-ahead is added.
    """

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, 2 * dim)
        self.taps = nn.Parameter(torch.empty(kernel, dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.output = nn.Linear(dim, dim)
        nn.init.uniform_(self.taps, -(kernel**-0.5), kernel**-0.5)

    def forward(self, x: Tensor, spaced: Tensor, places: Tensor) -> Tensor:
        """Convolve packed block rows `x` (P, D): (P, D)."""
        gated = F.glu(self.gate(x), -1).to(self.taps.dtype)
        return self.output(F.silu(depthwise(gated, self.taps, spaced, places) + self.bias))


def depthwise(x: Tensor, taps: Tensor, spaced: Tensor, places: Tensor) -> Tensor:
    """Convolve each column of packed block rows `x` (P, D) with its column of `taps` (K, D), block by block: (P, D).

    Args:
        spaced, places: see `LayerIndex`.
    """
    if torch.is_grad_enabled():
        return _Depthwise.apply(x, taps, spaced, places)
    return _correlate(_spread(x, spaced), taps, places)


class _Depthwise(torch.autograd.Function):
    """`depthwise` with a gradient that moves no rows one by one: rows and places are a permutation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: Tensor, spaced: Tensor, places: Tensor) -> Tensor:
        line = _spread(x, spaced)
        ctx.save_for_backward(line, taps, spaced, places)
        return _correlate(line, taps, places)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        line, taps, spaced, places = ctx.saved_tensors
        outer = _spread(gradient, spaced)
        inner = outer[taps.size(0) // 2 :][: outer.size(0) - taps.size(0) + 1]
        for_taps = [(line[k : k + inner.size(0)] * inner).sum(0) for k in range(taps.size(0))]
        return _correlate(outer, taps.flip(0), places), torch.stack(for_taps), None, None


def _spread(x: Tensor, spaced: Tensor) -> Tensor:
    """Packed rows (P, D) in a line with zero rows between blocks."""
    return gather(F.pad(x, (0, 0, 0, 1)), spaced)


def _correlate(line: Tensor, taps: Tensor, places: Tensor) -> Tensor:
    """Sum of taps[k] * line[place + k - K // 2] over k, for each place: shifted products, faster than a convolution
    of one channel a group, which moves every row to another layout and back."""
    kernel = taps.size(0)
    inner = line.size(0) - kernel + 1
    total = line[:inner] * taps[0]
    for k in range(1, kernel):
        total.addcmul_(line[k : k + inner], taps[k])
    return gather(total, places - kernel // 2)


class AugmentedMemoryLayer(nn.Module):
    """A pre-norm transformer layer over packed block rows."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        dim = config.dim
        self.convolves = config.convolution_kernel > 0
        self.convolution_norm = LayerNorm(dim) if self.convolves else nn.Identity()
        self.convolution = BlockConvolution(dim, config.convolution_kernel) if self.convolves else None
        self.attention_norm = LayerNorm(dim)
        self.attention = AugmentedMemoryAttention(config)
        self.feedforward_norm = LayerNorm(dim)
        self.feedforward = FeedForward(config)
        self.output_norm = LayerNorm(dim) if config.third_layer_norm else nn.Identity()
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, index: LayerIndex, memory: MemoryIndex) -> Tensor:
        """Parallel form: block rows (P, D) -> the query rows' outputs (R, D)."""
        return self.hand_on(x, index, memory, None)[0]

    def hand_on(self, x: Tensor, index: LayerIndex, memory: MemoryIndex, older: Tensor | None) -> tuple[Tensor, Tensor]:
        """As `forward`, after other utterances; see `AugmentedMemoryAttention.hand_on`."""
        x = self._convolve(x, index)
        h = self.attention_norm(x)
        x, q = self._queries(x, h, index)
        z, slots = self.attention.hand_on(q, h, index.attention, memory, older)
        return self._finish(x, z), slots

    def step(self, x: Tensor, index: LayerIndex, bank: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Streaming form; see `AugmentedMemoryAttention.step`."""
        x = self._convolve(x, index)
        h = self.attention_norm(x)
        x, q = self._queries(x, h, index)
        z, slot = self.attention.step(q, h, index.attention, bank, seen)
        return self._finish(x, z), slot

    def _convolve(self, x: Tensor, index: LayerIndex) -> Tensor:
        if self.convolution is None:
            return x
        return x + self.dropout(self.convolution(self.convolution_norm(x), index.spaced, index.places))

    def _queries(self, x: Tensor, h: Tensor, index: LayerIndex) -> tuple[Tensor, Tensor]:
        return (gather(x, index.query_rows), gather(h, index.query_rows)) if index.shrinks else (x, h)

    def _finish(self, x: Tensor, z: Tensor) -> Tensor:
        x = x + self.dropout(z)
        x = x + self.dropout(self.feedforward(self.feedforward_norm(x)))
        return self.output_norm(x)

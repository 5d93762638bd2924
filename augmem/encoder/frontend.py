"""VGG front end: two convolutional blocks that subsample and serve as positional encoding (arXiv 1910.09799).

Each block is a 3x3 convolution with the stride of the block, instead of pooling, and a 3x3 convolution without stride.
In time, all are causal within groups of `subsampling` feature frames: encoder frame i depends on feature frames up to
the last of group i, so the front end adds no look-ahead. An incomplete last group is padded with zero frames in both
forms. Before the first frame each convolution sees zeros, the cache of a new stream.

Letters: B utterances, T feature frames, F feature bins, T' encoder frames, D model width, K channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augmem.devices import to_device
from augmem.encoder.rows import gather, take
from augmem.encoder.state import TensorGroup

_TIME_STRIDES = {1: (1, 1), 2: (2, 1), 3: (3, 1), 4: (2, 2)}
_KERNEL = 3


@dataclass(frozen=True)
class FrontendState(TensorGroup):
    """State of the front end for B streams.

    Args:
        features: (B, subsampling - 1, F) last feature frames; the newest may belong to an incomplete group.
        feature_frames: (B,) feature frames received.
        convolutions: last inputs (B, cache, bins, K) of each convolution.
    """

    features: Tensor
    feature_frames: Tensor
    convolutions: tuple[Tensor, ...]


class CausalConvolution(nn.Module):
    """3x3 convolution over (time, frequency) with ReLU; needs the last `cache` time steps before its input.

    Args:
        inputs, outputs: channels.
        time_stride, bin_stride: strides.
    """

    def __init__(self, inputs: int, outputs: int, time_stride: int, bin_stride: int) -> None:
        super().__init__()
        self.time_stride = time_stride
        self.cache = _KERNEL - time_stride
        self.convolution = nn.Conv2d(
            inputs, outputs, _KERNEL, stride=(time_stride, bin_stride), padding=(0, _KERNEL // 2)
        )
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")
        nn.init.zeros_(self.convolution.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, K, cache + T, F), T a multiple of the stride, to (B, K', T / stride, F / bin stride)."""
        return F.relu(self.convolution(x))


class Frontend(nn.Module):
    """Subsampling front end: features (B, T, F) to packed encoder frames, whole or chunk by chunk.

    Args:
        feature_dim: F.
        channels: channels of the two blocks.
        subsampling: feature frames per encoder frame: 2, 3 or 4.
        dim: D.
        stride: feature frames per vector of width D, a divisor of `subsampling`; an encoder frame has `subsampling /
            stride` such vectors, one after the other. None: one vector.

    Example:
        >>> frontend = Frontend(feature_dim=80, channels=(8, 16), subsampling=4, dim=32)
        >>> frontend(torch.zeros(2, 100, 80), torch.tensor([100, 41])).shape  # 25 + 11 frames
        torch.Size([36, 32])
    """

    def __init__(
        self, feature_dim: int, channels: tuple[int, int], subsampling: int, dim: int, stride: int | None = None
    ) -> None:
        super().__init__()
        first, second = _TIME_STRIDES[stride or subsampling]
        self.subsampling = subsampling
        self.vectors = subsampling // (stride or subsampling)  # of an encoder frame
        self.width = self.vectors * dim
        self.feature_dim = feature_dim
        self.convolutions = nn.ModuleList(
            [
                CausalConvolution(1, channels[0], first, 2),
                CausalConvolution(channels[0], channels[0], 1, 1),
                CausalConvolution(channels[0], channels[1], second, 2),
                CausalConvolution(channels[1], channels[1], 1, 1),
            ]
        )
        self.bins = [feature_dim, _half(feature_dim), _half(feature_dim), _half(_half(feature_dim))]
        self.channels = [1, channels[0], channels[0], channels[1]]
        self.projection = nn.Linear(channels[1] * _half(_half(feature_dim)), dim)

    @property
    def delay(self) -> float:
        """Feature frames between the centre of the receptive field of an encoder frame and the centre of its group.

        The convolutions are causal, so the receptive field lies earlier than the frame.
        """
        reach, stride = 0, 1  # receptive field before the group in feature frames; stride of the convolution's input
        for convolution in self.convolutions:
            reach += convolution.cache * stride
            stride *= convolution.time_stride
        return reach / 2

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Return the encoder frames (B,) of `lengths` (B,) feature frames; an incomplete last group counts."""
        return (lengths + self.subsampling - 1).div(self.subsampling, rounding_mode="floor")

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Map features (B, T, F) to packed encoder frames (sum of T', width) by utterance.

        Args:
            features: (B, T, F).
            lengths: (B,) frames, on the CPU.
        """
        time = features.size(1)
        padding = -time % self.subsampling
        x = F.pad(features, (0, 0, 0, padding)) if padding else features
        absent, rows, readers = to_device(self.build_tables(lengths, x.size(1)), x.device)
        x = x.masked_fill(absent, 0.0)
        x = x[:, None].contiguous(memory_format=torch.channels_last)
        for convolution in self.convolutions:
            x = convolution(F.pad(x, (0, 0, convolution.cache, 0)))
        return self._project(gather(self._frames(x.permute(0, 2, 3, 1)).flatten(0, 1), rows, readers))

    def build_tables(self, lengths: Tensor, time: int) -> tuple[Tensor, Tensor, Tensor]:
        """Build the index tables of a batch, on the CPU.

        Args:
            lengths: (B,) feature frames.
            time: feature frames of the batch, a multiple of the subsampling.

        Returns:
            which feature frames are padding (B, time, 1), the real encoder frames (sum of T',), and the inverse of the
            latter, see `gather`.
        """
        step = torch.arange(time)
        absent = step >= lengths[:, None]
        real = (step[: time // self.subsampling] < self.output_lengths(lengths)[:, None]).flatten()
        rows = real.nonzero().squeeze(1)
        return absent[:, :, None], rows, torch.where(real, real.cumsum(0) - 1, rows.numel())[:, None]

    def init_state(self, batch: int) -> FrontendState:
        """Return the state of `batch` new streams, all zero."""
        like = self.projection.weight
        caches = zip(self.convolutions, self.bins, self.channels, strict=True)
        return FrontendState(
            features=like.new_zeros(batch, self.subsampling - 1, self.feature_dim),
            feature_frames=torch.zeros(batch, dtype=torch.int64, device=like.device),
            convolutions=tuple(like.new_zeros(batch, conv.cache, bins, channels) for conv, bins, channels in caches),
        )

    def step(self, chunk: Tensor, state: FrontendState, final: bool) -> tuple[Tensor, Tensor, FrontendState]:
        """Process feature frames `chunk` (B, T, F).

        Returns:
            encoder frames (B, T', width), how many of them are valid (B,), and the new state.
        """
        groups, count = self._group(chunk, state, final)
        features = torch.cat([state.features, chunk], 1)[:, chunk.size(1) :]
        # Channels last, as in `forward`; time second, so that `take` can cut each stream at its own place.
        x = groups[:, :, :, None]
        n = count * self.subsampling
        caches = []
        for convolution, cache in zip(self.convolutions, state.convolutions, strict=True):
            past = torch.cat([cache, x], 1)
            caches.append(take(past, n, convolution.cache))
            n = n.div(convolution.time_stride, rounding_mode="floor")
            x = self._convolve(convolution, past.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        new = FrontendState(features, state.feature_frames + chunk.size(1), tuple(caches))
        return self._project(self._frames(x)), count, new

    def _frames(self, x: Tensor) -> Tensor:
        """Return outputs of the convolutions (B, T' * vectors, bins, K) as encoder frames (B, T', vectors * I)."""
        return x.reshape(x.size(0), x.size(1) // self.vectors, self.vectors * self.projection.in_features)

    def _project(self, frames: Tensor) -> Tensor:
        """Map encoder frames (..., vectors * I) to (..., width)."""
        projected: Tensor = self.projection(frames.unflatten(-1, (self.vectors, self.projection.in_features)))
        return projected.flatten(-2)

    def _group(self, chunk: Tensor, state: FrontendState, final: bool) -> tuple[Tensor, Tensor]:
        """Return left-over and new frames as whole groups (B, groups * subsampling, F), and the groups of each stream
        (B,)."""
        pending = state.feature_frames % self.subsampling
        available = pending + chunk.size(1)
        count = self.output_lengths(available) if final else available.div(self.subsampling, rounding_mode="floor")
        width = int(count.max()) * self.subsampling
        table = torch.cat([state.features, chunk], 1)
        frames = take(table, self.subsampling - 1 - pending, width)
        real = torch.arange(width, device=chunk.device) < available[:, None]
        return frames.masked_fill(~real[:, :, None], 0.0), count

    def _convolve(self, convolution: CausalConvolution, x: Tensor) -> Tensor:
        if x.size(2) < _KERNEL:  # no new frame in any stream
            shape = (x.size(0), convolution.convolution.out_channels, 0, _strided_bins(x.size(3), convolution))
            return x.new_zeros(shape)
        return convolution(x)


def _half(bins: int) -> int:
    return (bins + 1) // 2


def _strided_bins(bins: int, convolution: CausalConvolution) -> int:
    stride = int(convolution.convolution.stride[1])
    return (bins + stride - 1) // stride

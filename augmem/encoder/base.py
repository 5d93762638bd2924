"""What every acoustic encoder offers: whole utterances, pieces of a stream, and an honest account of its
delay."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from augmem.encoder.config import EncoderConfig
from augmem.encoder.dropout import Dropout
from augmem.encoder.frontend import Frontend
from augmem.encoder.norm import LayerNorm
from augmem.encoder.rows import gather


class Encoded(NamedTuple):
    """Encoder outputs (B, T', D), their lengths (B,), and the outputs of the iterated-loss layers, lowest
    first."""

    hidden: Tensor
    lengths: Tensor
    taps: list[Tensor]


class Encoder(nn.Module):
    """Front end and interface of all encoders; subclasses provide `_encode` and, if they stream, `step`."""

    def __init__(self, config: EncoderConfig, feature_dim: int, frame_shift: float) -> None:
        super().__init__()
        if feature_dim < 1:
            raise ValueError(f"feature_dim: {feature_dim} must be at least 1")
        if not frame_shift > 0:
            raise ValueError(f"frame_shift: {frame_shift} must be more than 0 seconds")
        self.config = config
        self.subsampling = config.subsampling
        self.output_dim = config.dim
        self.frame_seconds = frame_shift * config.subsampling
        self.left = config.frames("left_context", frame_shift)
        self.centre = config.frames("centre", frame_shift)
        self.right = config.frames("right_context", frame_shift)
        self.frontend = Frontend(feature_dim, config.frontend_channels, config.subsampling, config.dim)
        self.dropout = Dropout(config.dropout)
        self.tap_norms = nn.ModuleDict({str(n): LayerNorm(config.dim) for n in config.iterated_loss_layers})
        self.norm = LayerNorm(config.dim)

    @property
    def look_ahead(self) -> float:
        """Seconds of future that an output frame waits for, beyond its own segment."""
        return self.right * self.frame_seconds

    @property
    def average_latency(self) -> float:
        """Seconds a frame waits on average before its output can be computed: half a segment and the
        look-ahead."""
        return self.centre * self.frame_seconds / 2 + self.look_ahead

    @property
    def frontend_delay(self) -> float:
        """Seconds by which the middle of what the front end sees for an output frame lies before the frame's own."""
        return self.frontend.delay * self.frame_seconds / self.subsampling

    @property
    def chunk_frames(self) -> int:
        """Feature frames of one segment's centre: the natural size of the chunks given to `step`."""
        return self.centre * self.subsampling

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode whole utterances.

        Args:
            features: (B, T, F); what stands behind an utterance's end is never looked at.
            lengths: (B,) int64, feature frames of each utterance, 1 to T.

        Returns:
            hidden (B, T', D), zero behind an utterance's end, and T' = ceil(length / subsampling) (B,).
        """
        encoded = self.encode(features, lengths)
        return encoded.hidden, encoded.lengths

    def encode(self, features: Tensor, lengths: Tensor) -> Encoded:
        """As `forward`, with the outputs of the iterated-loss layers as well."""
        frames, out_lengths = self._frames(features, lengths)
        hidden, taps = self._encode(frames, out_lengths)
        return Encoded(hidden, out_lengths, taps)

    def _frames(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Packed encoder frames (sum of T', D) of a batch, and their lengths (B,)."""
        check_batch(features, lengths, self.frontend.feature_dim)
        return self.dropout(self.frontend(features, lengths)), self.frontend.output_lengths(lengths)

    def init_state(self, batch: int) -> dict[str, Tensor]:
        """State of `batch` new streams: a flat dict of tensors, batch first, all zero."""
        raise NotImplementedError(f"encoder.type {self.config.type} needs the whole utterance: it cannot stream")

    def step(self, chunk: Tensor, state: dict[str, Tensor], final: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
        """Feed the next feature frames (B, T, F), T >= 0, of B streams.

        Args:
            state: as `init_state` or the last step returned it; not changed.
            final: whether these are the streams' last frames.

        Returns:
            the outputs that have become computable (B, T', D), and the new state, whose `emitted` (B,) tells
            how many of them belong to each stream (they differ only between streams that were started apart).
        """
        raise NotImplementedError(f"encoder.type {self.config.type} needs the whole utterance: it cannot stream")

    def _dropped(self) -> bool:
        """Whether training skips the coming layer this time."""
        rate = self.config.layer_drop
        return self.training and rate > 0 and bool(torch.rand(()) < rate)

    def _encode(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Packed frames (sum of T', D) of `lengths` (B,) -> hidden (B, T', D) and taps."""
        raise NotImplementedError


def check_batch(features: Tensor, lengths: Tensor, feature_dim: int) -> None:
    """Refuse shapes and lengths that do not fit together."""
    if features.dim() != 3 or features.size(2) != feature_dim:
        raise ValueError(f"features: shape {tuple(features.shape)} must be (B, T, {feature_dim})")
    if lengths.shape != features.shape[:1]:
        raise ValueError(f"lengths: shape {tuple(lengths.shape)} must be ({features.size(0)},), one per utterance")
    if int(lengths.min()) < 1 or int(lengths.max()) > features.size(1):
        raise ValueError(f"lengths: {lengths.tolist()} must be from 1 to the batch's {features.size(1)} frames")


def unpack(rows: Tensor, index: Tensor) -> Tensor:
    """Rows (K, D) at `index` (B, T), where K stands for a zero row: (B, T, D)."""
    return gather(torch.nn.functional.pad(rows, (0, 0, 0, 1)), index)


def initialise(module: nn.Module, layers: int) -> None:
    """Xavier weights and zero biases; what is added to the residual stream starts small, so depth is stable."""
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight, gain=(2 * layers) ** -0.5 if name.endswith("output") else 1.0)
            nn.init.zeros_(part.bias)
            part.weight.data = column_by_column(part.weight.data)


def column_by_column(weight: Tensor) -> Tensor:
    """The same matrix, the numbers of a column side by side in memory.

    MKL multiplies the few rows of one segment by it in four fifths of the time, and many rows in the same. The shape
    stays, and so does the layout when weights are trained or loaded: both write into the matrix that is there.
    """
    return weight.t().contiguous().t()

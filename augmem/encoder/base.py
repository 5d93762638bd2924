"""Interface of all encoders: whole utterances, streaming, latency.

Letters: B utterances or streams, T feature frames, F feature bins, T' encoder frames, D model width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from augmem.encoder.config import EncoderConfig
from augmem.encoder.dropout import Dropout
from augmem.encoder.frontend import Frontend
from augmem.encoder.norm import LayerNorm
from augmem.encoder.state import StreamState


class Encoded(NamedTuple):
    """Outputs of an encoder.

    Args:
        hidden: (B, T', D), zero beyond the end of each utterance.
        lengths: (B,) output frames of each utterance, on the CPU.
        taps: outputs (B, T', D) of the iterated-loss layers, lowest first.
    """

    hidden: Tensor
    lengths: Tensor
    taps: list[Tensor]


class Encoder(nn.Module):
    """Base class of all encoders. Subclasses provide `_encode` and, if they can stream, `init_state` and `step`.

    Args:
        config: sizes and options.
        feature_dim: feature bins F.
        frame_shift: seconds between feature frames.

    Example: see `build_encoder`.
    """

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
        """Look-ahead of an output frame beyond its own segment, in seconds."""
        return self.right * self.frame_seconds

    @property
    def average_latency(self) -> float:
        """Average latency induced by the encoder in seconds: half a centre plus the look-ahead."""
        return self.centre * self.frame_seconds / 2 + self.look_ahead

    @property
    def frontend_delay(self) -> float:
        """Delay of the front end in seconds; see `Frontend.delay`."""
        return self.frontend.delay * self.frame_seconds / self.subsampling

    @property
    def chunk_frames(self) -> int:
        """Feature frames of the centre of a segment: the natural chunk size of `step`."""
        return self.centre * self.subsampling

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode whole utterances.

        Args:
            features: (B, T, F); values beyond the end of an utterance are ignored.
            lengths: (B,) int64, feature frames of each utterance, 1 to T. On the CPU they need no synchronisation.

        Returns:
            hidden (B, T', D), zero beyond the end of an utterance, and T' = ceil(length / subsampling) (B,) on the CPU.

        Raises:
            ValueError: shapes or lengths do not match.
        """
        encoded = self.encode(features, lengths)
        return encoded.hidden, encoded.lengths

    def encode(self, features: Tensor, lengths: Tensor) -> Encoded:
        """Run `forward`, and return the outputs of the iterated-loss layers too."""
        frames, out_lengths = self._frames(features, lengths)
        hidden, taps = self._encode(frames, out_lengths)
        return Encoded(hidden, out_lengths, taps)

    def _frames(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the packed encoder frames (sum of T', D) of a batch, and their lengths (B,) on the CPU."""
        lengths = lengths.cpu()
        check_batch(features, lengths, self.frontend.feature_dim)
        return self.dropout(self.frontend(features, lengths)), self.frontend.output_lengths(lengths)

    def init_state(self, batch: int) -> StreamState:
        """Return the state of `batch` new streams.

        Raises:
            NotImplementedError: the encoder needs whole utterances.
        """
        raise NotImplementedError(f"encoder.type {self.config.type} needs the whole utterance: it cannot stream")

    def step(self, chunk: Tensor, state: StreamState, final: bool = False) -> tuple[Tensor, StreamState]:
        """Process the next feature frames of B streams.

        Args:
            chunk: (B, T, F), T >= 0.
            state: state returned by `init_state` or by the last step; not modified.
            final: whether the streams end with this chunk.

        Returns:
            the outputs that can now be computed (B, T', D), and the new state. `state.emitted` (B,) counts the outputs
            of each stream, which differ only between streams that started at different times.

        Raises:
            NotImplementedError: the encoder needs whole utterances.
        """
        raise NotImplementedError(f"encoder.type {self.config.type} needs the whole utterance: it cannot stream")

    def _draw_layer_drop(self) -> bool:
        """Draw whether training skips the next layer for this batch."""
        rate = self.config.layer_drop
        return self.training and rate > 0 and bool(torch.rand(()) < rate)

    def _encode(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Encode packed frames (sum of T', D) of `lengths` (B,), on the CPU: hidden (B, T', D) and taps."""
        raise NotImplementedError


def check_batch(features: Tensor, lengths: Tensor, feature_dim: int) -> None:
    """Check shapes and lengths of a batch.

    Args:
        features: (B, T, F).
        lengths: (B,) feature frames.
        feature_dim: expected F.

    Raises:
        ValueError: they do not match.
    """
    if features.dim() != 3 or features.size(2) != feature_dim:
        raise ValueError(f"features: shape {tuple(features.shape)} must be (B, T, {feature_dim})")
    if lengths.shape != features.shape[:1]:
        raise ValueError(f"lengths: shape {tuple(lengths.shape)} must be ({features.size(0)},), one per utterance")
    if int(lengths.min()) < 1 or int(lengths.max()) > features.size(1):
        raise ValueError(f"lengths: {lengths.tolist()} must be from 1 to the batch's {features.size(1)} frames")


def initialise(module: nn.Module, layers: int) -> None:
    """Initialise linear layers: Xavier weights, zero biases; layers that write to the residual stream start small,
    which keeps deep encoders stable."""
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight, gain=(2 * layers) ** -0.5 if name.endswith("output") else 1.0)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
            part.weight.data = column_major(part.weight.data)


def column_major(weight: Tensor) -> Tensor:
    """Return the matrix in column-major layout.

    MKL multiplies the few rows of one segment by it in four fifths of the time, and many rows in the same time.
    Training and loading write into the existing tensor and keep the layout.
    """
    return weight.t().contiguous().t()

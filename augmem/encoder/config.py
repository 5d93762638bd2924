"""What a user may choose about an encoder, in seconds and plain types, and what is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

EncoderType = Literal["augmented_memory", "emformer", "transformer_xl", "time_restricted", "full_context", "lc_blstm"]


@dataclass(frozen=True)
class EncoderConfig:
    """Shape and context of an acoustic encoder (defaults: the contexts of arXiv 2005.08042, a small model).

    Args:
        type: which encoder; all share front end, sizes and interface. `augmented_memory` is the paper's.
        dim: width D of the residual stream and of the output.
        heads: attention heads; must divide dim.
        feedforward_dim: inner width of the feed-forward blocks.
        layers: how many layers.
        dropout: rate of dropout on the input and on each residual branch, rounded to 1/256.
        layer_drop: chance that training skips a layer for one batch (stochastic depth).
        activation: of the feed-forward blocks.
        subsampling: feature frames per encoder frame, done by the two blocks of the front end: 2, 3 or 4.
        frontend_channels: channels of the front end's two VGG blocks.
        left_context: seconds of left context L of a segment; a multiple of the encoder frame, like the next two.
        centre: seconds of centre C of a segment; a segment's outputs are those of its centre.
        right_context: seconds of right context R of a segment: the whole look-ahead, whatever the depth.
        memory_slots: memory slots a segment sees: null = all of the past, a number = the newest so many, 0 = none.
        summary_sees_memory: whether the summary query attends to older slots (the paper) or to its block alone.
        slot_content: what a slot holds: the summary query's attention output, or the plain mean of the centre.
        slot_squash: tanh keeps the slots within (-1, 1). Without it, and with a summary that sees the bank, slots may
            grow over many minutes: live recognition therefore begins a full memory anew (`forget_if_full`).
        weak_attention_suppression: drop attention weights below mean - gamma * deviation of their row
            (arXiv 2005.09137); null = off, 0.5 is that paper's gamma.
        convolution_kernel: odd width in encoder frames of a depthwise convolution in front of each layer's
            attention, within the block; 0 = none, as in the paper.
        third_layer_norm: normalise each layer's output as well.
        iterated_loss_layers: layers (1 = lowest) after which training may attach an auxiliary output.
        recompute_layers: keep only each layer's input in training and compute the rest again for the gradient: less
            memory for about a third more time, the same numbers. For augmented_memory and full_context.
        feedforward_slices: pieces in which feed-forward blocks are computed in training, each recomputed for the
            gradient, so that only one piece's inner values are held at a time (arXiv 2407.15892); 1 = all at once.
        lstm_dim: cells per direction of `lc_blstm`; null = as many as match a transformer's parameter count.
    """

    type: EncoderType = "augmented_memory"
    dim: int = 192
    heads: int = 4
    feedforward_dim: int = 768
    layers: int = 6
    dropout: float = 0.1
    layer_drop: float = 0.0
    activation: Literal["gelu", "relu", "silu"] = "gelu"
    subsampling: int = 4
    frontend_channels: tuple[int, int] = (8, 16)
    left_context: float = 0.64
    centre: float = 1.28
    right_context: float = 0.32
    memory_slots: int | None = None
    summary_sees_memory: bool = True
    slot_content: Literal["attention", "mean"] = "attention"
    slot_squash: Literal["none", "tanh"] = "none"
    weak_attention_suppression: float | None = None
    convolution_kernel: int = 0
    third_layer_norm: bool = False
    iterated_loss_layers: tuple[int, ...] = ()
    recompute_layers: bool = False
    feedforward_slices: int = 1
    lstm_dim: int | None = None

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_sizes()
        self._check_rates()
        self._check_contexts()

    def _check_choices(self) -> None:
        for field, allowed in _CHOICES.items():
            self._require(field, getattr(self, field) in allowed, f"must be one of {', '.join(map(str, allowed))}")

    def _check_sizes(self) -> None:
        for field in ("dim", "heads", "feedforward_dim", "layers", "feedforward_slices"):
            self._require(field, _is_count(getattr(self, field), 1), "must be a whole number of at least 1")
        self._require("dim", self.dim % self.heads == 0, f"must be a multiple of heads={self.heads}")
        channels = self.frontend_channels
        good = len(channels) == 2 and all(_is_count(c, 1) for c in channels)
        self._require("frontend_channels", good, "must be two whole numbers of at least 1")
        kernel = self.convolution_kernel
        self._require(
            "convolution_kernel",
            kernel == 0 or (_is_count(kernel, 1) and kernel % 2 == 1),
            "must be 0 or odd",
        )
        for field, least in (("memory_slots", 0), ("lstm_dim", 1)):
            value = getattr(self, field)
            good = value is None or _is_count(value, least)
            self._require(field, good, f"must be null or a whole number of at least {least}")
        able = kernel == 0 or self.type not in ("lc_blstm", "time_restricted")
        self._require("convolution_kernel", able, f"must be 0 for {self.type}")
        able = not self.recompute_layers or self.type in ("augmented_memory", "full_context")
        self._require("recompute_layers", able, f"is for augmented_memory and full_context, not {self.type}")
        able = self.feedforward_slices == 1 or self.type != "lc_blstm"
        self._require("feedforward_slices", able, "must be 1 for lc_blstm, which has no feed-forward blocks")
        taps = self.iterated_loss_layers
        good = all(_is_count(tap, 1) and tap <= self.layers for tap in taps) and len(set(taps)) == len(taps)
        self._require("iterated_loss_layers", good, f"must be different layers from 1 to layers={self.layers}")

    def _check_rates(self) -> None:
        for field in ("dropout", "layer_drop"):
            self._require(field, 0 <= getattr(self, field) < 1, "must be at least 0 and less than 1")
        gamma = self.weak_attention_suppression
        good = gamma is None or 0 <= gamma < math.inf
        self._require("weak_attention_suppression", good, "must be null or a number of at least 0")

    def _check_contexts(self) -> None:
        self._require("centre", 0 < self.centre < math.inf, "must be more than 0 seconds, and finite")
        for field in ("left_context", "right_context"):
            self._require(field, 0 <= getattr(self, field) < math.inf, "must be at least 0 seconds, and finite")

    def frames(self, field: str, frame_shift: float) -> int:
        """Encoder frames in a context given in seconds.

        Args:
            field: `left_context`, `centre` or `right_context`.
            frame_shift: seconds from one feature frame to the next.

        Raises:
            ValueError: the context is not a whole number of encoder frames.
        """
        seconds, shift = getattr(self, field), frame_shift * self.subsampling
        count = round(seconds / shift)
        whole = abs(count * shift - seconds) < 1e-6 and (count > 0 or seconds == 0)
        least = 1 if field == "centre" else 0
        below = max(int(seconds / shift), least) * shift
        rule = f"must be a multiple of the encoder frame of {shift:g} s (frame shift x subsampling)"
        self._require(field, whole, f"{rule}; try {below:g} or {below + shift:g}")
        return count

    def _require(self, field: str, good: bool, rule: str) -> None:
        if not good:
            raise ValueError(f"encoder.{field}: {getattr(self, field)!r} {rule}")


_CHOICES = {
    "type": ("augmented_memory", "emformer", "transformer_xl", "time_restricted", "full_context", "lc_blstm"),
    "activation": ("gelu", "relu", "silu"),
    "subsampling": (2, 3, 4),
    "slot_content": ("attention", "mean"),
    "slot_squash": ("none", "tanh"),
}


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least

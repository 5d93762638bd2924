"""Options of the encoders and their checks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from augmem.encoder.registry import ENCODERS, MEMORIES, EncoderType, MemoryType
from augmem.errors import check_option

DEFAULT_KERNEL = 7  # frames, in encoders that always convolve


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes, contexts and options of an encoder (defaults: the contexts of arXiv 2005.08042, a small model).

    Args:
        type: encoder; all have the same front end, sizes and interface. `augmented_memory` is that of the paper.
        dim: model width D, the width of the output.
        heads: attention heads; must divide dim.
        feedforward_dim: inner width of the feed-forward blocks.
        layers: number of layers.
        dropout: dropout rate at the input and in each residual branch, rounded to 1/256.
        layer_drop: probability of skipping a layer for one batch in training (stochastic depth).
        activation: activation of the feed-forward blocks.
        subsampling: feature frames per encoder frame, done by the two blocks of the front end.
        frontend_channels: channels of the two VGG blocks of the front end.
        left_context: left context L of a segment in seconds; a multiple of the encoder frame, like the next two.
        centre: centre C of a segment in seconds; the outputs of a segment are those of its centre.
        right_context: right context R of a segment in seconds: the whole look-ahead, independent of depth. In
            `conv_transformer`, the look-ahead of all convolutions together.
        memory: kind of memory: `slots`, that of the paper; `gated`, slots that each segment updates through a gate
            (after arXiv 2112.13050); `recurrent_sum`, a decaying sum of products of keys and values (after arXiv
            2305.16340); `selected`, the slots with the highest learned scores (after arXiv 2308.13191).
        memory_slots: size of the memory bank: of `slots`, the newest slots that a segment attends to, null = all, 0 =
            no memory; of `gated`, the number of slots, null = 8; of `selected`, slots that are kept, null = 16.
        summary_sees_memory: whether the summary query attends to the bank (as in the paper) or to its block only.
        slot_content: content of a slot: attention output of the summary query, or mean of the centre.
        slot_squash: tanh limits slots to (-1, 1). Without it, and with a summary query that attends to the bank, slots
            may grow over many minutes; streaming recognition therefore resets the bank (`StreamState.limit_memory`).
        align_segments: average the frames that two segments share, in the later segment, after each layer but the last
            (after arXiv 2308.13191).
        weak_attention_suppression: drop attention weights below mean - gamma * deviation of their row
            (arXiv 2005.09137); null = off, 0.5 is the value of that paper.
        convolution_kernel: odd kernel width in encoder frames of a depthwise convolution before the attention of each
            layer, within the block; 0 = none, as in the paper. `conv_transformer` and `conformer_kernel` always have
            one: there, 0 = 7 frames.
        third_layer_norm: also normalise the output of each layer.
        iterated_loss_layers: layers (1 = lowest) with an auxiliary output for training.
        recompute_layers: store only the input of each layer in training and recompute the rest for the gradient:
            less memory for about a third more time, equal results.
        feedforward_slices: slices in which feed-forward blocks are computed in training, each recomputed for the
            gradient, to store the inner values of one slice at a time (arXiv 2407.15892); 1 = all at once.
        key_value_ranks: ranks of the key and value projections of each layer, lowest first; () = full rank. A trained
            model gets them by `augmem package --low-rank` (arXiv 2410.03111).
        lstm_dim: cells per direction of `lc_blstm`; null = as many as match the parameters of a transformer.
        frame_schedule: lengths of frames in `pro_scale` in seconds, from the lowest layers to the highest; the layers
            are divided evenly among them. The first divides the encoder frame, each is a multiple of the one before,
            and the contexts are multiples of the last. The outputs have encoder frames.

    Raises:
        UserError: a value is out of range, or the encoder does not have the option.

    Example:
        >>> config = EncoderConfig(centre=0.64)
        >>> config.frames("centre", frame_shift=0.01)  # encoder frames of 40 ms
        16
    """

    type: EncoderType = "augmented_memory"
    dim: int = 192
    heads: int = 4
    feedforward_dim: int = 768
    layers: int = 6
    dropout: float = 0.1
    layer_drop: float = 0.0
    activation: Literal["gelu", "relu", "silu"] = "gelu"
    subsampling: Literal[2, 3, 4] = 4
    frontend_channels: tuple[int, int] = (8, 16)
    left_context: float = 0.64
    centre: float = 1.28
    right_context: float = 0.32
    memory: MemoryType = "slots"
    memory_slots: int | None = None
    summary_sees_memory: bool = True
    slot_content: Literal["attention", "mean"] = "attention"
    slot_squash: Literal["none", "tanh"] = "none"
    align_segments: bool = False
    weak_attention_suppression: float | None = None
    convolution_kernel: int = 0
    third_layer_norm: bool = False
    iterated_loss_layers: tuple[int, ...] = ()
    recompute_layers: bool = False
    feedforward_slices: int = 1
    key_value_ranks: tuple[int, ...] = ()
    lstm_dim: int | None = None
    frame_schedule: tuple[float, ...] = (0.02, 0.04, 0.08)

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_excluded()
        self._check_sizes()
        self._check_layers()
        self._check_rates()
        self._check_contexts()

    def _check_choices(self) -> None:
        registries: dict[str, Mapping[Any, Any]] = {"type": ENCODERS, "memory": MEMORIES}
        for field, hint in get_type_hints(EncoderConfig).items():
            choices = get_args(hint) if getattr(hint, "__origin__", None) is Literal else ()
            choices = tuple(registries.get(field, choices))  # also those that a program has registered
            good = not choices or getattr(self, field) in choices
            self._require(field, good, f"be one of {', '.join(map(str, choices))}")

    def _check_excluded(self) -> None:
        self._exclude(ENCODERS[self.type].excluded, f"encoder.type {self.type}")
        self._exclude(MEMORIES[self.memory].excluded, f"encoder.memory {self.memory}")

    def _exclude(self, excluded: Mapping[str, Any], owner: str) -> None:
        for field in fields(self):
            if field.name in excluded:
                good = getattr(self, field.name) in (field.default, excluded[field.name])
                self._require(field.name, good, f"be omitted: {owner} has no such option")

    def _check_sizes(self) -> None:
        for field in ("dim", "heads", "feedforward_dim", "layers", "feedforward_slices"):
            self._require(field, _is_count(getattr(self, field), 1), "be a whole number of at least 1")
        self._require("dim", self.dim % self.heads == 0, f"be a multiple of heads={self.heads}")
        channels = self.frontend_channels
        good = len(channels) == 2 and all(_is_count(c, 1) for c in channels)
        self._require("frontend_channels", good, "be two whole numbers of at least 1")
        for field, least in (("memory_slots", MEMORIES[self.memory].least_slots), ("lstm_dim", 1)):
            value = getattr(self, field)
            good = value is None or _is_count(value, least)
            self._require(field, good, f"be null or a whole number of at least {least}")

    def _check_layers(self) -> None:
        kernel, taps = self.convolution_kernel, self.iterated_loss_layers
        good = kernel == 0 or (_is_count(kernel, 1) and kernel % 2 == 1)
        self._require("convolution_kernel", good, "be 0 or odd")
        good = all(0 < seconds < math.inf for seconds in self.frame_schedule)
        self._require("frame_schedule", good, "be numbers of more than 0 seconds")
        good = all(_is_count(tap, 1) and tap <= self.layers for tap in taps) and len(set(taps)) == len(taps)
        self._require("iterated_loss_layers", good, f"be different layers from 1 to layers={self.layers}")
        ranks = self.key_value_ranks
        good = not ranks or (len(ranks) == self.layers and all(_is_count(r, 1) and r <= self.dim for r in ranks))
        self._require("key_value_ranks", good, f"be empty, or a rank from 1 to dim={self.dim} for each of the layers")

    def _check_rates(self) -> None:
        for field in ("dropout", "layer_drop"):
            self._require(field, 0 <= getattr(self, field) < 1, "be at least 0 and less than 1")
        gamma = self.weak_attention_suppression
        good = gamma is None or 0 <= gamma < math.inf
        self._require("weak_attention_suppression", good, "be null or a number of at least 0")

    def _check_contexts(self) -> None:
        self._require("centre", 0 < self.centre < math.inf, "be more than 0 seconds, and finite")
        for field in ("left_context", "right_context"):
            self._require(field, 0 <= getattr(self, field) < math.inf, "be at least 0 seconds, and finite")

    @property
    def ranks(self) -> tuple[int | None, ...]:
        """Rank of the key and value projections of each layer; None: full."""
        return self.key_value_ranks or (None,) * self.layers

    def frames(self, field: str, frame_shift: float) -> int:
        """Convert a context from seconds to encoder frames; 0 if the encoder does not have it.

        Args:
            field: `left_context`, `centre` or `right_context`.
            frame_shift: seconds between feature frames.

        Raises:
            UserError: the context is not a whole number of encoder frames.
        """
        if field in ENCODERS[self.type].excluded:
            return 0
        seconds, shift = getattr(self, field), frame_shift * self.subsampling
        count = round(seconds / shift)
        whole = abs(count * shift - seconds) < 1e-6 and (count > 0 or seconds == 0)
        least = 1 if field == "centre" else 0
        below = max(int(seconds / shift), least) * shift
        rule = f"be a multiple of the encoder frame of {shift:g} s (frame shift x subsampling)"
        self._require(field, whole, f"{rule}; try {below:g} or {below + shift:g}")
        return count

    def _require(self, field: str, good: bool, rule: str) -> None:
        check_option(f"encoder.{field}", getattr(self, field), good, rule)

    @staticmethod
    def from_stored(values: dict[str, Any]) -> EncoderConfig:
        """Build a config from the values in a model file: lists become tuples, options that the encoder does not have
        are left out."""
        excluded = ENCODERS[values["type"]].excluded
        kept: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if name not in excluded
        }
        return EncoderConfig(**kept)


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least

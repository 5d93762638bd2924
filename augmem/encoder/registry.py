"""Registry of encoders: names, classes, and the options that each of them does not have."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from augmem.encoder.base import Encoder
    from augmem.encoder.config import EncoderConfig
    from augmem.encoder.memory import LayerMemory

EncoderType = Literal[
    "augmented_memory", "emformer", "transformer_xl", "time_restricted", "full_context", "lc_blstm", "conformer_kernel",
    "conv_transformer", "pro_scale",
]  # fmt: skip
MemoryType = Literal["slots", "gated", "recurrent_sum", "selected"]


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder of the registry.

    Args:
        path: module and class, as `module:class`.
        excluded: options that the encoder does not have, with the values that describe it. Other values than these and
            the defaults are refused.

    Example:
        >>> ENCODERS["emformer"].excluded["summary_sees_memory"]
        False
    """

    path: str
    excluded: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MemorySpec:
    """A kind of memory of the registry.

    Args:
        path, excluded: see `EncoderSpec`.
        least_slots: lowest value of `encoder.memory_slots`.
    """

    path: str
    excluded: Mapping[str, Any] = field(default_factory=dict)
    least_slots: int = 0


_NO_MEMORY: dict[str, Any] = {
    "memory": "slots", "memory_slots": 0, "summary_sees_memory": False, "slot_content": "attention",
    "slot_squash": "none", "align_segments": False,
}  # fmt: skip
_NO_CONTEXT: dict[str, Any] = {"left_context": 0.0, "centre": None, "right_context": 0.0}
_OTHERS: dict[str, Any] = {"lstm_dim": None, "frame_schedule": ()}  # options of one encoder
_BASELINES = "augmem.encoder.baselines"

ENCODERS: dict[EncoderType, EncoderSpec] = {
    "augmented_memory": EncoderSpec("augmem.encoder.augmented_memory:AugmentedMemoryEncoder", _OTHERS),
    "emformer": EncoderSpec(
        f"{_BASELINES}:CachedContextEncoder",
        {
            "memory": "slots", "summary_sees_memory": False, "align_segments": False, "recompute_layers": False,
            **_OTHERS,
        },
    ),
    "transformer_xl": EncoderSpec(
        f"{_BASELINES}:CachedContextEncoder", _NO_MEMORY | {"recompute_layers": False, **_OTHERS}
    ),
    "time_restricted": EncoderSpec(
        f"{_BASELINES}:TimeRestrictedEncoder",
        _NO_MEMORY | {"convolution_kernel": 0, "recompute_layers": False, **_OTHERS},
    ),
    "full_context": EncoderSpec(f"{_BASELINES}:FullContextEncoder", _NO_MEMORY | _NO_CONTEXT | _OTHERS),
    "lc_blstm": EncoderSpec(
        f"{_BASELINES}:LatencyControlledBlstm",
        _NO_MEMORY
        | {
            "left_context": 0.0, "activation": "gelu", "weak_attention_suppression": None, "convolution_kernel": 0,
            "third_layer_norm": False, "recompute_layers": False, "feedforward_slices": 1, "frame_schedule": (),
            "key_value_ranks": (),
        },
    ),
    "conformer_kernel": EncoderSpec(
        "augmem.encoder.conformer_kernel:ConformerKernelEncoder",
        _NO_MEMORY | {"weak_attention_suppression": None, "recompute_layers": False, **_OTHERS},
    ),
    "conv_transformer": EncoderSpec(
        "augmem.encoder.conv_transformer:ConvTransformerEncoder",
        _NO_MEMORY | {"recompute_layers": False, **_OTHERS},
    ),
    "pro_scale": EncoderSpec(
        "augmem.encoder.pro_scale:ProScaleEncoder", _NO_MEMORY | {"recompute_layers": False, "lstm_dim": None},
    ),
}  # fmt: skip
assert tuple(ENCODERS) == get_args(EncoderType)

_KINDS = "augmem.encoder.memory"

MEMORIES: dict[MemoryType, MemorySpec] = {
    "slots": MemorySpec(f"{_KINDS}.slots:SlotMemory"),
    "gated": MemorySpec(
        f"{_KINDS}.gated:GatedMemory", {"summary_sees_memory": False, "slot_squash": "none"}, least_slots=1
    ),
    "recurrent_sum": MemorySpec(
        f"{_KINDS}.recurrent_sum:RecurrentSum",
        {"memory_slots": None, "summary_sees_memory": False, "slot_content": "attention", "slot_squash": "none"},
    ),
    "selected": MemorySpec(f"{_KINDS}.selected:SelectedSlots", {"summary_sees_memory": False}, least_slots=1),
}
assert tuple(MEMORIES) == get_args(MemoryType)


def find_memory(config: EncoderConfig) -> type[LayerMemory]:
    """Return the kind of memory that `config.memory` names."""
    kind: type[LayerMemory] = pkgutil.resolve_name(MEMORIES[config.memory].path)
    return kind


def build_encoder(config: EncoderConfig, feature_dim: int, frame_shift: float) -> Encoder:
    """Build the encoder that `config.type` names.

    Args:
        config: sizes and options.
        feature_dim: feature bins F.
        frame_shift: seconds between feature frames.

    Raises:
        UserError: a context is not a whole number of encoder frames.

    Example:
        >>> import torch
        >>> from augmem.encoder import EncoderConfig
        >>> encoder = build_encoder(EncoderConfig(dim=32, heads=2, layers=2, feedforward_dim=64), 80, 0.01)
        >>> hidden, lengths = encoder(torch.randn(2, 500, 80), torch.tensor([500, 320]))
        >>> hidden.shape, lengths.tolist()
        (torch.Size([2, 125, 32]), [125, 80])
    """
    encoder = pkgutil.resolve_name(ENCODERS[config.type].path)
    return encoder(config, feature_dim, frame_shift)

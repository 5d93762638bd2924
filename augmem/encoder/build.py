"""From a config to an encoder."""

from __future__ import annotations

from augmem.encoder.augmented_memory import AugmentedMemoryEncoder
from augmem.encoder.base import Encoder
from augmem.encoder.config import EncoderConfig

_ENCODERS: dict[str, type[Encoder]] = {"augmented_memory": AugmentedMemoryEncoder}


def build_encoder(config: EncoderConfig, feature_dim: int, frame_shift: float) -> Encoder:
    """The encoder that `config.type` names.

    Args:
        feature_dim: feature bins F.
        frame_shift: seconds from one feature frame to the next.
    """
    if config.type not in _ENCODERS:
        raise ValueError(f"encoder.type: {config.type!r} is not built yet; choose from {', '.join(_ENCODERS)}")
    return _ENCODERS[config.type](config, feature_dim, frame_shift)

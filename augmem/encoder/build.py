"""From a config to an encoder."""

from __future__ import annotations

from augmem.encoder.augmented_memory import AugmentedMemoryEncoder
from augmem.encoder.base import Encoder
from augmem.encoder.baselines import (
    CachedContextEncoder,
    FullContextEncoder,
    LatencyControlledBlstm,
    TimeRestrictedEncoder,
)
from augmem.encoder.config import EncoderConfig

_ENCODERS: dict[str, type[Encoder]] = {
    "augmented_memory": AugmentedMemoryEncoder,
    "emformer": CachedContextEncoder,
    "transformer_xl": CachedContextEncoder,
    "time_restricted": TimeRestrictedEncoder,
    "full_context": FullContextEncoder,
    "lc_blstm": LatencyControlledBlstm,
}


def build_encoder(config: EncoderConfig, feature_dim: int, frame_shift: float) -> Encoder:
    """The encoder that `config.type` names.

    Args:
        feature_dim: feature bins F.
        frame_shift: seconds from one feature frame to the next.

    Raises:
        ValueError: a context is not a whole number of encoder frames, or an option does not go with the type.
    """
    return _ENCODERS[config.type](config, feature_dim, frame_shift)

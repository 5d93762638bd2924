"""Full-context transformer: an upper bound for streaming encoders. It cannot stream."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from augmem.encoder.augmented_memory import AugmentedMemoryEncoder
from augmem.encoder.base import Encoder
from augmem.encoder.config import EncoderConfig
from augmem.encoder.segments import Plan, plan_segments


class FullContextEncoder(AugmentedMemoryEncoder):
    """Transformer in which every frame attends to every frame: one block per utterance, no memory.

    Args:
        config: sizes and options.
        feature_dim: feature bins F.
        frame_shift: seconds between feature frames.
    """

    def __init__(self, config: EncoderConfig, feature_dim: int, frame_shift: float) -> None:
        super().__init__(replace(config, memory_slots=0), feature_dim, frame_shift)

    @property
    def look_ahead(self) -> float:
        return math.inf

    @property
    def average_latency(self) -> float:
        return math.inf

    def _plan(self, lengths: Tensor) -> Plan:
        return plan_segments(lengths, 0, int(lengths.max()), 0)

    # Raise NotImplementedError.
    init_state = Encoder.init_state
    step = Encoder.step

"""Baselines of the paper with the same interface, sizes and trainer as the augmented-memory transformer."""

from augmem.encoder.baselines.cached_context import CachedContextEncoder
from augmem.encoder.baselines.full_context import FullContextEncoder
from augmem.encoder.baselines.lc_blstm import LatencyControlledBlstm
from augmem.encoder.baselines.time_restricted import TimeRestrictedEncoder

__all__ = ["CachedContextEncoder", "FullContextEncoder", "LatencyControlledBlstm", "TimeRestrictedEncoder"]

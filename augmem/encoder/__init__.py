"""Acoustic encoders: the augmented-memory transformer of arXiv 2005.08042 and its baselines behind one interface.

Whole utterances: `encoder(features, lengths)`. Streams: `encoder.init_state(batch)`, then `encoder.step` with chunks of
any size; both give the same outputs. The package uses torch only: no files, graphs or corpora.
"""

from augmem.encoder.augmented_memory import AugmentedMemoryEncoder
from augmem.encoder.base import Encoded, Encoder
from augmem.encoder.config import EncoderConfig
from augmem.encoder.low_rank import choose_ranks, truncate
from augmem.encoder.maps import AttentionMap, attention_maps
from augmem.encoder.registry import ENCODERS, MEMORIES, EncoderSpec, MemorySpec, build_encoder
from augmem.encoder.state import Memory, StreamState
from augmem.encoder.static import StaticStep
from augmem.encoder.window import WindowStep

__all__ = [
    "ENCODERS",
    "MEMORIES",
    "AttentionMap",
    "AugmentedMemoryEncoder",
    "Encoded",
    "Encoder",
    "EncoderConfig",
    "EncoderSpec",
    "Memory",
    "MemorySpec",
    "StaticStep",
    "StreamState",
    "WindowStep",
    "attention_maps",
    "build_encoder",
    "choose_ranks",
    "truncate",
]

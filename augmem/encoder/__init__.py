"""Acoustic encoders: the augmented-memory transformer of arXiv 2005.08042 and its rivals behind one interface.

Whole utterances: `encoder(features, lengths)`. Streams: `init_state`, then `step` on pieces of any size; the outputs
are the same. Pure torch: knows nothing of files, graphs or corpora.
"""

from augmem.encoder.augmented_memory import AugmentedMemoryEncoder, Memory, forget_if_full
from augmem.encoder.base import Encoded, Encoder
from augmem.encoder.build import build_encoder
from augmem.encoder.config import EncoderConfig
from augmem.encoder.maps import AttentionMap, attention_maps
from augmem.encoder.static import StaticStep
from augmem.encoder.streaming import reset_streams, select_streams, stack_states

__all__ = [
    "AttentionMap",
    "AugmentedMemoryEncoder",
    "Encoded",
    "Encoder",
    "EncoderConfig",
    "Memory",
    "StaticStep",
    "attention_maps",
    "build_encoder",
    "forget_if_full",
    "reset_streams",
    "select_streams",
    "stack_states",
]

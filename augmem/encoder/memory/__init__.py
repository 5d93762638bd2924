"""Kinds of memory: what a segment contributes, how the memory is updated, and what the queries of a segment read.

Each kind is a module that `augmem.encoder.registry.MEMORIES` lists; `encoder.memory` chooses one.
"""

from augmem.encoder.memory.base import LayerMemory

__all__ = ["LayerMemory"]

"""Origin of graphs and models: content hashes of the units, topology, context and words they were built with."""

from __future__ import annotations

from typing import NamedTuple


class Origin(NamedTuple):
    """Units, topology and words that a graph or an acoustic model was built with; attributes of a graph.

    An acoustic model depends on units, topology and context alone; `words_hash` is for decoding graphs.

    Args:
        units_hash: hash of the units and their ids (`Lang.units_hash`).
        topology: name of H.
        context: hash of its classes (`context_hash`).
        words_hash: hash of words and pronunciations (`Lang.words_hash`); empty: of any words.
    """

    units_hash: str
    topology: str
    context: str = ""
    words_hash: str = ""

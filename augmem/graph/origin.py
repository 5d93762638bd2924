"""Origin of graphs and models: content hashes of the units, topology, context and words they were built with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from augmem.errors import UserError

if TYPE_CHECKING:
    import k2


class Origin(NamedTuple):
    """What a graph or an acoustic model was built with. A graph stores it as attributes.

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


_REMEDIES = {
    "units_hash": "its labels are other units than the model's outputs; run the stage graphs of the experiment the "
    "model belongs to",
    "words_hash": "its word ids belong to another words.txt or lexicon.txt; run the stages lm and graphs again",
}


def set_origin(graph: k2.Fsa, origin: Origin) -> k2.Fsa:
    """Store an origin as attributes of a graph, and return the graph."""
    for name, value in origin._asdict().items():
        setattr(graph, name, value)
    return graph


def check_origin(graph: k2.Fsa, expected: Origin, path: Path) -> None:
    """Refuse a decoding graph that does not fit the model or the lang folder.

    Args:
        graph: read from `path`. A graph without origin, such as one made by another toolkit, is accepted.
        expected: units, topology and context of the model, words of the lang folder; empty values are not compared.

    Raises:
        UserError: naming both values and the remedy.
    """
    for name, value in expected._asdict().items():
        found = getattr(graph, name, value)
        if found != value and (value or name == "context"):
            remedy = _REMEDIES.get(name, "its labels mean other outputs; run the stage graphs again")
            raise UserError(f"{path}: the {name} of the graph is {found}, expected {value}: {remedy}")

"""The origin of a graph, stored as attributes of its automaton."""

from __future__ import annotations

from pathlib import Path

from augmem.errors import UserError
from augmem.graph import Origin
from augmem.lazy_k2 import k2

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

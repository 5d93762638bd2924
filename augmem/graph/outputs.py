"""The outputs of an acoustic model: classes of units in context, as the topology H uses them."""

from __future__ import annotations

from augmem.graph.config import TOPOLOGIES
from augmem.graph.context import Biphones, Classes


def num_outputs(name: str, num_units: int, biphones: Biphones = ()) -> int:
    """Return the number of outputs the acoustic model needs, including the blank.

    "hmm" and "chain" have no blank and do not use output 0.

    Args:
        name: ctc, modified_ctc, hmm or chain.
        num_units: number of units including the blank.
        biphones: pairs (left, unit) with a class of their own.
    """
    return len(output_units(name, num_units, biphones))


def output_units(name: str, num_units: int, biphones: Biphones = ()) -> list[int]:
    """Return the unit of each of the model's outputs; 0 for the blank.

    Args:
        name: ctc, modified_ctc, hmm or chain.
        num_units: number of units including the blank.
        biphones: pairs (left, unit) with a class of their own.
    """
    check_topology(name)
    classes = Classes(num_units, biphones)
    return classes.unit_of + (classes.unit_of[1:] if name == "chain" else [])


def check_topology(name: str) -> None:
    """Check the name of a topology.

    Raises:
        ValueError: there is no such topology.
    """
    if name not in TOPOLOGIES:
        raise ValueError(f"unknown topology {name!r}; it must be one of {', '.join(TOPOLOGIES)}")

"""H o P: all unit sequences, weighted by the phone LM."""

from __future__ import annotations

from augmem.automata.fsa import remove_outputs
from augmem.automata.topology import build_topology
from augmem.graph import Biphones
from augmem.lazy_k2 import k2


def denominator_fsa(phone_lm: k2.Fsa, topology: str, num_units: int, biphones: Biphones = ()) -> k2.Fsa:
    """Return H o P as a sorted acceptor over model outputs.

    Args:
        phone_lm: P, a sorted epsilon-free acceptor over units.
        topology: name of H.
        num_units: number of units including the blank.
        biphones: context of H.
    """
    composed = k2.connect(k2.compose(build_topology(topology, num_units, biphones), phone_lm))
    return k2.arc_sort(remove_outputs(composed))

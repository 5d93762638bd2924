"""The denominator of LF-MMI: the total score of all unit sequences, weighted by the phone LM."""

from __future__ import annotations

import logging

from torch import Tensor

from augmem.graph.frames import frame_graph
from augmem.graph.fsa import count_states_and_arcs, remove_outputs
from augmem.graph.k2_intersection import k2_score
from augmem.graph.topology import Biphones, build_topology
from augmem.graph.total_score import DenseGraph
from augmem.lazy_k2 import k2

logger = logging.getLogger(__name__)


class Denominator:
    """Total score of all paths of H o P, with the same H as the numerators.

    Args:
        phone_lm: P, a sorted epsilon-free acceptor over units.
        topology: name of H.
        num_units: number of units including the blank.
        max_states: graphs of up to this many states are summed exactly, as a dense matrix; larger ones by k2's pruned
            intersection, which is many times slower.
        beam: output beam of k2's intersection, in nats.
        biphones: context of H.
    """

    def __init__(
        self,
        phone_lm: k2.Fsa,
        topology: str,
        num_units: int,
        max_states: int = 2000,
        beam: float = 20.0,
        biphones: Biphones = (),
    ) -> None:
        self.fsa = denominator_fsa(phone_lm, topology, num_units, biphones)
        self.topology = topology
        self.beam = beam
        graph = frame_graph(self.fsa)
        self.dense = DenseGraph(graph) if len(graph.labels) <= max_states else None
        logger.info(
            "denominator: %d states, %d arcs, summed by %s",
            *count_states_and_arcs(self.fsa),
            "matrix" if self.dense else "k2",
        )

    def __call__(self, log_probs: Tensor, lengths: Tensor) -> Tensor:
        """Return total scores (B,) of log_probs (B, T, V) over lengths (B,) frames; differentiable."""
        if self.dense is not None:
            return self.dense.score(log_probs, lengths)
        return k2_score(log_probs, lengths, self.fsa, self.beam)


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

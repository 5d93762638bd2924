"""First pass of utterances: acoustic scores and a decoding graph to lattices.

An utterance whose search reaches no final state is searched again with wider beams. If that does not help, its paths
may end in any state. Repeated searches are logged and recorded in the result.

Letters: B utterances, T frames, V units.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from augmem.automata import check_origin, load_fsa
from augmem.decoding.beam_search import BeamSearch, SearchState
from augmem.decoding.config import SearchConfig
from augmem.decoding.graph_arrays import GraphArrays
from augmem.decoding.lattice import Ints, Lattice, empty_lattice
from augmem.errors import UserError
from augmem.graph import Origin
from augmem.lazy_k2 import k2

logger = logging.getLogger(__name__)

BEAM_FACTOR = 1.5
ACTIVE_FACTOR = 4


class Search(str, Enum):
    """The search that found a lattice."""

    NORMAL = "normal"
    WIDER = "wider beams"
    OPEN_END = "all states final"
    FAILED = "no path"


@dataclass(frozen=True)
class LatticeResult:
    """A lattice and the search that found it."""

    lattice: Lattice
    search: Search


class DecodingGraph:
    """The decoding graph HLG.

    Args:
        hlg: an FSA with units as labels and word ids as `aux_labels` (a tensor, or ragged), without disambiguation
            symbols.

    Example:
        >>> graph = DecodingGraph(k2.ctc_topo(max_token=2))  # all unit sequences; units are its words
        >>> log_probs = torch.tensor([[[0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]]]).log()
        >>> (result,) = find_lattices(log_probs, torch.tensor([3]), graph, SearchConfig())
        >>> result.search.value, result.lattice.num_frames
        ('normal', 3)
    """

    def __init__(self, hlg: k2.Fsa) -> None:
        self.fsa = prepare_graph(hlg)

    @classmethod
    def load(cls, path: Path, origin: Origin | None = None) -> DecodingGraph:
        """Map HLG.safetensors into memory; processes that read the same file share it.

        Args:
            origin: what the model was trained with; None: not checked.

        Raises:
            FileNotFoundError: the file does not exist.
            UserError: the file is not a graph, or the graph has another origin.
        """
        graph = load_fsa(path)
        if origin:
            check_origin(graph, origin, path)
        return cls(graph)

    def check_units(self, num_units: int) -> None:
        """Check that the model has all units of the graph, so that scores are read within bounds.

        Raises:
            UserError: model and graph are from different lang folders.
        """
        if self.num_units > num_units:
            raise UserError(
                f"the decoding graph uses {self.num_units} units but the model scores {num_units}: they are from "
                "different lang folders; run stage graphs in the experiment of the model"
            )

    @cached_property
    def num_units(self) -> int:
        """Number of units, blank included."""
        return int(self.fsa.labels.max()) + 1

    @cached_property
    def arrays(self) -> GraphArrays:
        """The graph as numpy arrays, for the search; they share its memory."""
        return GraphArrays(self.fsa)


def prepare_graph(graph: k2.Fsa) -> k2.Fsa:
    """Convert to an arc-sorted FsaVec with the scores also as attribute `lm_scores`.

    A graph without attribute `word_starts` gets one: words begin where they are emitted.
    """
    if len(graph.shape) == 3 and hasattr(graph, "lm_scores") and hasattr(graph, "word_starts"):
        return graph  # as stored, mapped from the file: processes share it
    if len(graph.shape) == 3:
        graph = graph[0]
    graph = k2.arc_sort(graph)
    if not hasattr(graph, "word_starts"):
        graph.word_starts = torch.from_numpy((word_matrix(graph.aux_labels, graph.num_arcs) > 0).sum(axis=1)).int()
    graph.lm_scores = graph.scores.clone()
    return k2.create_fsa_vec([graph])


def find_lattices(
    log_probs: Tensor,
    lengths: Tensor,
    graph: DecodingGraph,
    config: SearchConfig,
    names: Sequence[str] = (),
) -> list[LatticeResult]:
    """Search a batch of utterances.

    Args:
        log_probs: (B, T, V) float log-probabilities of the units, blank first.
        lengths: (B,) valid frames of each utterance; 0 gives `Search.FAILED`.
        graph: the decoding graph.
        config: beams, acoustic scale and number of repeated searches.
        names: (B,) names of the utterances in the log.

    Returns:
        one result per utterance, in order. A `Search.FAILED` has an empty lattice.

    Raises:
        UserError: scores are NaN, or the graph has units that the model does not score.
        ValueError: shapes do not match.

    Example: see `DecodingGraph`.
    """
    check_scores(log_probs, lengths, names)
    graph.check_units(log_probs.shape[2])
    return [
        find_lattice(log_probs[b, : int(length)], graph, config, format_names(names, [b]))
        for b, length in enumerate(lengths)
    ]


def find_lattice(log_probs: Tensor, graph: DecodingGraph, config: SearchConfig, name: str = "") -> LatticeResult:
    """Search one utterance.

    Args:
        log_probs: (T, V) log-probabilities of the units, on the CPU.
        graph: the decoding graph.
        config: beams, acoustic scale and number of repeated searches.
        name: name of the utterance in the log.
    """
    kind, (search, state) = Search.NORMAL, search_once(log_probs, graph, config)
    for _ in range(config.retries if len(log_probs) else 0):
        if search.is_complete(state):
            break
        kind, config = Search.WIDER, widen_search(config)
        logger.info("no complete path, searching with %s: %s", kind.value, name)
        search, state = search_once(log_probs, graph, config)
    lattice = search.lattice(state) if len(log_probs) else empty_lattice(0, config.acoustic_scale)
    if lattice.is_empty:
        logger.warning("no path with all states final: %s", name)
        return LatticeResult(lattice, Search.FAILED)
    if not search.is_complete(state):
        kind = Search.OPEN_END
        logger.info("no complete path, using %s: %s", kind.value, name)
    return LatticeResult(lattice, kind)


def search_once(log_probs: Tensor, graph: DecodingGraph, config: SearchConfig) -> tuple[BeamSearch, SearchState]:
    """Search an utterance (T, V) with one set of beams."""
    search, state = BeamSearch(graph.arrays, config), SearchState()
    search.advance(state, log_probs)
    return search, state


def widen_search(config: SearchConfig) -> SearchConfig:
    """Return the options of a wider search."""
    return replace(
        config,
        search_beam=config.search_beam * BEAM_FACTOR,
        output_beam=config.output_beam * BEAM_FACTOR,
        min_active=config.min_active * ACTIVE_FACTOR,
        max_active=config.max_active * ACTIVE_FACTOR,
    )


def word_matrix(aux_labels: Tensor | k2.RaggedTensor, num_arcs: int) -> Ints:
    """Return the word ids (A, K) of each arc, padded with 0; K is at least 1. Final arcs have no words."""
    if isinstance(aux_labels, Tensor):
        return aux_labels.clamp(min=0).numpy().astype(np.int64)[:, None]
    kept = aux_labels.remove_values_leq(0)
    if kept.numel() == 0:
        return np.zeros((num_arcs, 1), dtype=np.int64)
    return kept.pad(mode="constant", padding_value=0).numpy().astype(np.int64)


def check_scores(log_probs: Tensor, lengths: Tensor, names: Sequence[str]) -> None:
    """Check the input of the search, which k2 does not.

    Args:
        log_probs: (B, T, V).
        lengths: (B,) frames.
        names: names of the utterances, for messages.

    Raises:
        ValueError: wrong shapes, or lengths above T.
        UserError: scores are NaN.
    """
    if log_probs.dim() != 3 or lengths.shape != log_probs.shape[:1]:
        raise ValueError(
            f"log_probs {tuple(log_probs.shape)} and lengths {tuple(lengths.shape)}: expected (B, T, V) and (B,)"
        )
    if len(lengths) and int(lengths.max()) > log_probs.shape[1]:
        raise ValueError(f"a length of {int(lengths.max())} frames exceeds log_probs' {log_probs.shape[1]}")
    for b, length in enumerate(lengths.tolist()):
        if torch.isnan(log_probs[b, :length]).any():
            raise UserError(
                f"{format_names(names, [b])}: acoustic scores are NaN: the model has diverged; train it again"
            )


def format_names(names: Sequence[str], rows: Sequence[int]) -> str:
    """Format names of utterances for messages."""
    return ", ".join(names[b] if names else f"utterance {b}" for b in rows)

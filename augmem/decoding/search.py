"""First pass: acoustic scores and a decoding graph to lattices, by k2's pruned intersection.

Letters: B utterances, T frames, V units.

An utterance whose search reaches no final state has no path. It is searched again with wider beams, and in the end with
a graph in which every state is final. Repeated searches are logged and recorded in the result.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from augmem.automata import check_origin, load_fsa
from augmem.decoding.config import SearchConfig
from augmem.decoding.lattice import FINAL, Floats, Ints, Lattice
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
        """Check that the model has all units of the graph; k2 would read out of bounds.

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
    def open_ended(self) -> k2.Fsa:
        """The graph with a final arc of score 0 from every state that has none; built on first use."""
        return prepare_graph(with_open_ends(self.fsa[0]))


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


def with_open_ends(graph: k2.Fsa, everywhere: bool = False) -> k2.Fsa:
    """Add a final arc of score 0 to each state that has no final arc, or to every state.

    Added arcs have attribute `opened` = 1.
    """
    arcs = graph.arcs.values()
    end = graph.shape[0] - 1
    has_final = torch.zeros(end + 1, dtype=torch.bool)
    if not everywhere:
        has_final[arcs[arcs[:, 2] == FINAL, 0].long()] = True
    has_final[end] = True
    states = torch.nonzero(~has_final).squeeze(1).int()
    added = torch.stack(
        [states, torch.full_like(states, end), torch.full_like(states, FINAL), torch.zeros_like(states)], 1
    )
    joined = torch.cat([arcs, added])
    order = torch.argsort(joined[:, 0], stable=True)
    opened = k2.Fsa(joined[order].contiguous())
    opened.aux_labels = extend_labels(graph.aux_labels, len(states), order)
    opened.word_starts = torch.cat([graph.word_starts, torch.zeros_like(states)])[order]
    opened.opened = (order >= len(arcs)).int()
    return opened


def extend_labels(aux_labels: Tensor | k2.RaggedTensor, count: int, order: Tensor) -> Tensor | k2.RaggedTensor:
    """Append the word labels of `count` final arcs, and reorder all labels.

    Args:
        aux_labels: word labels of the arcs, one or several an arc.
        count: number of final arcs to append.
        order: (arcs + count,) position of each arc of the result.
    """
    if isinstance(aux_labels, Tensor):
        return torch.cat([aux_labels, torch.full((count,), FINAL, dtype=aux_labels.dtype)])[order].contiguous()
    added = k2.RaggedTensor([[FINAL]] * count) if count else k2.RaggedTensor(torch.zeros(0, 0, dtype=torch.int32))
    joined = k2.ragged.cat([aux_labels, added], axis=0) if count else aux_labels
    return joined.index(order.int(), axis=0, need_value_indexes=False)[0]


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
    """
    check_scores(log_probs, lengths, names)
    graph.check_units(log_probs.shape[2])
    found = [LatticeResult(empty_lattice(), Search.FAILED)] * len(lengths)
    missing = [b for b in range(len(lengths)) if lengths[b] > 0]
    for fsa, attempt, search in attempts(graph, config):
        if not missing:
            break
        if search is not Search.NORMAL:
            logger.info("no complete path, searching with %s: %s", search.value, format_names(names, missing))
        for b, lattice in zip(missing, search_once(log_probs, lengths, missing, fsa(), attempt), strict=True):
            found[b] = LatticeResult(lattice, Search.FAILED if lattice.is_empty else search)
        missing = [b for b in missing if found[b].lattice.is_empty]
    failed = [b for b in range(len(lengths)) if found[b].search is Search.FAILED]
    if failed:
        logger.warning("no path with all states final: %s", format_names(names, failed))
    return found


def attempts(graph: DecodingGraph, config: SearchConfig) -> Iterator[tuple[Callable[[], k2.Fsa], SearchConfig, Search]]:
    """Yield the searches in their order: graph (built on use), options, and name."""
    yield lambda: graph.fsa, config, Search.NORMAL
    for _ in range(config.retries):
        config = widen(config)
        yield lambda: graph.fsa, config, Search.WIDER
    yield lambda: graph.open_ended, config, Search.OPEN_END


def widen(config: SearchConfig) -> SearchConfig:
    """Return the options of a wider search."""
    return replace(
        config,
        search_beam=config.search_beam * BEAM_FACTOR,
        output_beam=config.output_beam * BEAM_FACTOR,
        min_active=config.min_active * ACTIVE_FACTOR,
        max_active=config.max_active * ACTIVE_FACTOR,
    )


def search_once(
    log_probs: Tensor, lengths: Tensor, rows: Sequence[int], graph: k2.Fsa, config: SearchConfig
) -> list[Lattice]:
    """Intersect the utterances `rows` with the graph; return their lattices in that order.

    Args:
        log_probs: (B, T, V).
        lengths: (B,) frames.
        rows: utterances to search.
        graph: FsaVec with one graph.
        config: beams and acoustic scale.
    """
    order = sorted(rows, key=lambda b: -int(lengths[b]))  # k2 expects decreasing lengths
    segments = torch.tensor([[b, 0, int(lengths[b])] for b in order], dtype=torch.int32)
    dense = k2.DenseFsaVec(config.acoustic_scale * log_probs.float().cpu(), segments)
    lattices = k2.intersect_dense_pruned(
        graph,
        dense,
        search_beam=config.search_beam,
        output_beam=config.output_beam,
        min_active_states=config.min_active,
        max_active_states=config.max_active,
        frame_idx_name="frame",
    )
    scores = log_probs.double().cpu().numpy()
    split = split_lattices(lattices, [scores[b, : int(lengths[b])] for b in order], config.acoustic_scale)
    by_row = dict(zip(order, split, strict=True))
    return [by_row[b] for b in rows]


def split_lattices(lattices: k2.Fsa, scores: Sequence[Floats], acoustic_scale: float) -> list[Lattice]:
    """Convert k2's vector of lattices; unreachable arcs are removed.

    Args:
        lattices: with attributes `frame` (-1: unreachable), `lm_scores`, `aux_labels` and `word_starts`.
        scores: (T, V) log-probabilities of each lattice. Acoustic scores are read from them, since k2 keeps only their
            float32 sum with the graph scores.
    """
    arcs = lattices.arcs.values().numpy()
    frames = lattices.frame.numpy()
    graph = lattices.lm_scores.double().numpy()
    words = word_matrix(lattices.aux_labels, len(arcs))
    word_starts = lattices.word_starts.numpy().astype(np.int64)
    shape = lattices.arcs.shape()
    splits = shape.row_splits(2)[shape.row_splits(1).long()].tolist()
    split = []
    for number, log_probs in enumerate(scores):
        mine = splits[number] + np.flatnonzero(frames[splits[number] : splits[number + 1]] >= 0)
        unit, frame = arcs[mine, 2].astype(np.int64), frames[mine].astype(np.int64)
        acoustic = np.where(unit == FINAL, 0.0, log_probs[np.minimum(frame, len(log_probs) - 1), unit])
        split.append(
            Lattice(
                source=arcs[mine, 0].astype(np.int64),
                target=arcs[mine, 1].astype(np.int64),
                frame=frame,
                unit=unit,
                words=words[mine],
                word_starts=word_starts[mine],
                acoustic=acoustic,
                graph=graph[mine],
                num_frames=len(log_probs),
                acoustic_scale=acoustic_scale,
            )
        )
    return split


def word_matrix(aux_labels: Tensor | k2.RaggedTensor, num_arcs: int) -> Ints:
    """Return the word ids (A, K) of each arc, padded with 0; K is at least 1. Final arcs have no words."""
    if isinstance(aux_labels, Tensor):
        return aux_labels.clamp(min=0).numpy().astype(np.int64)[:, None]
    kept = aux_labels.remove_values_leq(0)
    if kept.numel() == 0:
        return np.zeros((num_arcs, 1), dtype=np.int64)
    return kept.pad(mode="constant", padding_value=0).numpy().astype(np.int64)


def empty_lattice(num_frames: int = 0, acoustic_scale: float = 1.0) -> Lattice:
    """Return a lattice without arcs."""
    nothing = np.zeros(0, dtype=np.int64)
    return Lattice(
        nothing, nothing, nothing, nothing, np.zeros((0, 1), dtype=np.int64), nothing,
        np.zeros(0), np.zeros(0), num_frames, acoustic_scale,
    )  # fmt: skip


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

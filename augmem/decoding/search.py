"""First pass: model scores and a decoding graph in, lattices out (k2's pruned intersection).

Letters: B utterances, T frames, V units.

An utterance whose search ends in no final state must not become an empty answer (the best-known trap of this
kind of decoder). It is searched again with wider beams, and at last in a graph that may end in any state;
each such rescue is logged and marked on the result.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from pathlib import Path

import k2
import numpy as np
import torch
from torch import Tensor

from augmem.decoding.config import SearchConfig
from augmem.decoding.lattice import FINAL, Floats, Ints, Lattice
from augmem.graph import Origin, check_origin, load_fsa

logger = logging.getLogger(__name__)

WIDER_BEAM = 1.5
MORE_STATES = 4


class Search(str, Enum):
    """How an utterance's lattice was found."""

    NORMAL = "normal"
    WIDER = "wider beams"
    OPEN_END = "graph that may end anywhere"
    FAILED = "no path at all"


@dataclass(frozen=True)
class Found:
    """A lattice and the search that found it."""

    lattice: Lattice
    search: Search


class DecodingGraph:
    """HLG, whole and with open ends.

    Args:
        hlg: one acceptor of units with `aux_labels` = word ids (a tensor, or ragged), disambiguation
            symbols removed.
    """

    def __init__(self, hlg: k2.Fsa) -> None:
        self.fsa = prepared(hlg)

    @classmethod
    def load(cls, path: Path, origin: Origin | None = None) -> DecodingGraph:
        """Map HLG.safetensors into memory; processes that read the same file share it.

        Args:
            origin: the model's lang folder and topology, if the graph is to be held against them.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is no graph, or one of another origin.
        """
        graph = load_fsa(path)
        if origin:
            check_origin(graph, origin, path)
        return cls(graph)

    def check_units(self, num_units: int) -> None:
        """Refuse a model that scores fewer units than the graph uses; k2 would read beyond its scores.

        Raises:
            ValueError: model and graph come from different lang folders.
        """
        if self.num_units > num_units:
            raise ValueError(
                f"the decoding graph uses {self.num_units} units but the model scores {num_units}: "
                "they come from different lang folders; run the graphs stage of the model's own experiment"
            )

    @cached_property
    def num_units(self) -> int:
        """Units the graph uses, blank included."""
        return int(self.fsa.labels.max()) + 1

    @cached_property
    def open_ended(self) -> k2.Fsa:
        """The same graph with a free final arc from every state that lacks one; built when it is needed."""
        return prepared(with_open_ends(self.fsa[0]))


def prepared(graph: k2.Fsa) -> k2.Fsa:
    """As the intersection wants it: an arc-sorted FsaVec that also keeps its scores as `lm_scores`.

    A graph made elsewhere does not say where words begin (`word_starts`): there they begin where they are emitted.
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
    """Add an arc of score 0 into the final state from each state that has none, or from every state.

    The attribute `opened` is 1 on the arcs that were added.
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
    opened.aux_labels = extended(graph.aux_labels, len(states), order)
    opened.word_starts = torch.cat([graph.word_starts, torch.zeros_like(states)])[order]
    opened.opened = (order >= len(arcs)).int()
    return opened


def extended(aux_labels: Tensor | k2.RaggedTensor, count: int, order: Tensor) -> Tensor | k2.RaggedTensor:
    """Append `count` arcs' worth of word labels for final arcs, then reorder all of them."""
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
) -> list[Found]:
    """Search a batch.

    Args:
        log_probs: (B, T, V) float log-probabilities of the units, blank first.
        lengths: (B,) valid frames of each utterance; 0 is allowed and fails.
        names: (B,) what to call the utterances in the log.
    Returns:
        One result for each utterance, in order; `Search.FAILED` comes with an empty lattice.
    """
    check_scores(log_probs, lengths, names)
    graph.check_units(log_probs.shape[2])
    found = [Found(empty_lattice(), Search.FAILED)] * len(lengths)
    missing = [b for b in range(len(lengths)) if lengths[b] > 0]
    for fsa, attempt, search in attempts(graph, config):
        if not missing:
            break
        if search is not Search.NORMAL:
            logger.info("no complete path, trying %s: %s", search.value, called(names, missing))
        for b, lattice in zip(missing, search_once(log_probs, lengths, missing, fsa(), attempt), strict=True):
            found[b] = Found(lattice, Search.FAILED if lattice.is_empty else search)
        missing = [b for b in missing if found[b].lattice.is_empty]
    failed = [b for b in range(len(lengths)) if found[b].search is Search.FAILED]
    if failed:
        logger.warning("no path even in an open-ended graph: %s", called(names, failed))
    return found


def attempts(graph: DecodingGraph, config: SearchConfig) -> Iterator[tuple[Callable[[], k2.Fsa], SearchConfig, Search]]:
    """The searches in the order they are tried: graph (built only if needed), beams, and what to call it."""
    yield lambda: graph.fsa, config, Search.NORMAL
    for _ in range(config.retries):
        config = widened(config)
        yield lambda: graph.fsa, config, Search.WIDER
    yield lambda: graph.open_ended, config, Search.OPEN_END


def widened(config: SearchConfig) -> SearchConfig:
    """The same search with wider beams and more states."""
    return replace(
        config,
        search_beam=config.search_beam * WIDER_BEAM,
        output_beam=config.output_beam * WIDER_BEAM,
        min_active=config.min_active * MORE_STATES,
        max_active=config.max_active * MORE_STATES,
    )


def search_once(
    log_probs: Tensor, lengths: Tensor, rows: Sequence[int], graph: k2.Fsa, config: SearchConfig
) -> list[Lattice]:
    """Intersect the utterances `rows` with the graph once; a lattice for each of them, in that order."""
    order = sorted(rows, key=lambda b: -int(lengths[b]))  # k2 wants the longest first
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
    """Cut k2's vector of lattices into plain ones, without arcs that nothing leads to.

    Args:
        lattices: with the attributes `frame` (-1: nothing leads there), `lm_scores`, `aux_labels` and `word_starts`.
        scores: for each lattice (T, V) log-probabilities, from which the acoustic scores are read afresh:
            k2 keeps only their float32 sum with the graph's.
    """
    arcs = lattices.arcs.values().numpy()
    frames = lattices.frame.numpy()
    graph = lattices.lm_scores.double().numpy()
    words = word_matrix(lattices.aux_labels, len(arcs))
    begun = lattices.word_starts.numpy().astype(np.int64)
    shape = lattices.arcs.shape()
    splits = shape.row_splits(2)[shape.row_splits(1).long()].tolist()
    cut = []
    for number, log_probs in enumerate(scores):
        mine = splits[number] + np.flatnonzero(frames[splits[number] : splits[number + 1]] >= 0)
        unit, frame = arcs[mine, 2].astype(np.int64), frames[mine].astype(np.int64)
        acoustic = np.where(unit == FINAL, 0.0, log_probs[np.minimum(frame, len(log_probs) - 1), unit])
        cut.append(
            Lattice(
                source=arcs[mine, 0].astype(np.int64),
                target=arcs[mine, 1].astype(np.int64),
                frame=frame,
                unit=unit,
                words=words[mine],
                begun=begun[mine],
                acoustic=acoustic,
                graph=graph[mine],
                num_frames=len(log_probs),
                acoustic_scale=acoustic_scale,
            )
        )
    return cut


def word_matrix(aux_labels: Tensor | k2.RaggedTensor, num_arcs: int) -> Ints:
    """(A, K) word ids of each arc, padded with 0; K is at least 1. Final arcs emit nothing."""
    if isinstance(aux_labels, Tensor):
        return aux_labels.clamp(min=0).numpy().astype(np.int64)[:, None]
    kept = aux_labels.remove_values_leq(0)
    if kept.numel() == 0:
        return np.zeros((num_arcs, 1), dtype=np.int64)
    return kept.pad(mode="constant", padding_value=0).numpy().astype(np.int64)


def empty_lattice(num_frames: int = 0, acoustic_scale: float = 1.0) -> Lattice:
    """A lattice without arcs."""
    nothing = np.zeros(0, dtype=np.int64)
    return Lattice(
        nothing, nothing, nothing, nothing, np.zeros((0, 1), dtype=np.int64), nothing,
        np.zeros(0), np.zeros(0), num_frames, acoustic_scale,
    )  # fmt: skip


def check_scores(log_probs: Tensor, lengths: Tensor, names: Sequence[str]) -> None:
    """Speak before k2's C++ does.

    Raises:
        ValueError: wrong shapes, lengths beyond T, or scores that are not numbers.
    """
    if log_probs.dim() != 3 or lengths.shape != log_probs.shape[:1]:
        raise ValueError(
            f"log_probs {tuple(log_probs.shape)} and lengths {tuple(lengths.shape)}: want (B, T, V) and (B,)"
        )
    if len(lengths) and int(lengths.max()) > log_probs.shape[1]:
        raise ValueError(f"a length of {int(lengths.max())} frames exceeds log_probs' {log_probs.shape[1]}")
    for b, length in enumerate(lengths.tolist()):
        if torch.isnan(log_probs[b, :length]).any():
            raise ValueError(f"{called(names, [b])}: scores that are not numbers: the model has diverged")


def called(names: Sequence[str], rows: Sequence[int]) -> str:
    """Utterances for the log and for messages."""
    return ", ".join(names[b] if names else f"utterance {b}" for b in rows)

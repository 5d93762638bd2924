"""First pass of streams: lattices that grow chunk by chunk (k2's online intersection), equal to the offline lattices.

The online intersection of k2 1.23.4 prunes at the end of each chunk against the final states of the graph, so every
hypothesis inside a word would be lost. Therefore all states of the graph are final. The last chunk uses a second graph
with the same arcs, in which the added final arcs have a score of -1e6: they are used only if no other path is complete.

Letters: S streams, T frames, V units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from augmem.decoding.config import SearchConfig
from augmem.decoding.lattice import FINAL, Floats, Lattice, arc_frames
from augmem.decoding.search import DecodingGraph, prepare_graph, split_lattices, with_open_ends
from augmem.lazy_k2 import k2

PAUSE_PENALTY = -1e6


@dataclass
class StreamSearch:
    """State of the search of one stream, or of one segment of it.

    Args:
        state: state of k2; None before the first chunk. Decoding does not change it.
        log_probs: chunks (T, V) decoded so far.
    """

    state: Any = None
    log_probs: list[Tensor] = field(default_factory=list)

    @property
    def num_frames(self) -> int:
        """Number of frames decoded so far."""
        return sum(len(chunk) for chunk in self.log_probs)


@dataclass(frozen=True)
class GrowingLattice:
    """The lattice of all chunks of a stream so far.

    Args:
        lattice: its paths end in any state before the last chunk.
        complete: (A,) whether the arc is a final arc of HLG.
    """

    lattice: Lattice
    complete: np.ndarray


def new_state() -> Any:
    """Return k2's state of a stream without frames: an empty `DecodeStateInfo` in k2 1.24, None in k2 1.23.

    k2 1.23 has the class without a constructor.
    """
    try:
        return k2.DecodeStateInfo()
    except TypeError:
        return None


class OnlineSearch:
    """Search of streams; holds no state of a stream.

    k2 applies `output_beam` at the end of every chunk, where it acts as a search beam. Before the last chunk the larger
    of both beams is used.

    Args:
        graph: the decoding graph.
        config: beams and limits.
    """

    def __init__(self, graph: DecodingGraph, config: SearchConfig) -> None:
        self.config = config
        self.running = prepare_graph(with_open_ends(graph.fsa[0], everywhere=True))
        self.closing = self.running.clone()
        self.closing.scores = self.running.scores + PAUSE_PENALTY * self.running.opened
        self.closing.lm_scores = self.closing.scores.clone()
        self.num_units = graph.num_units
        self._intersecters: dict[tuple[bool, int], k2.OnlineDenseIntersecter] = {}

    def advance(self, searches: Sequence[StreamSearch], chunks: Sequence[Tensor], final: bool) -> list[GrowingLattice]:
        """Search the next chunk of each stream; updates `searches` in place.

        Args:
            searches: states of the streams.
            chunks: (T, V) scores of each stream, all of one length.
            final: whether these are the last chunks.

        Returns:
            the lattice of each stream.
        """
        count, frames = len(chunks), len(chunks[0])
        segments = torch.tensor([[number, 0, frames] for number in range(count)], dtype=torch.int32)
        dense = k2.DenseFsaVec(self.config.acoustic_scale * torch.stack(list(chunks)).float(), segments)
        states = [new_state() if search.state is None else search.state for search in searches]
        lattices, states = self._intersecter(final, count).decode(dense, states)
        for search, state, chunk in zip(searches, states, chunks, strict=True):
            search.state = state
            search.log_probs.append(chunk)
        return self._split(lattices, [torch.cat(s.log_probs).double().numpy() for s in searches])

    def _intersecter(self, final: bool, count: int) -> k2.OnlineDenseIntersecter:
        """Return k2's intersecter for `count` streams; its constructor takes the number of streams."""
        key = (final, count)
        if key not in self._intersecters:
            config = self.config
            self._intersecters[key] = k2.OnlineDenseIntersecter(
                self.closing if final else self.running,
                count,
                config.search_beam,
                config.output_beam if final else max(config.search_beam, config.output_beam),
                config.min_active,
                config.max_active,
            )
        return self._intersecters[key]

    def _split(self, lattices: k2.Fsa, scores: Sequence[Floats]) -> list[GrowingLattice]:
        arcs = lattices.arcs.values().numpy()
        shape = lattices.arcs.shape()
        splits = shape.row_splits(2)[shape.row_splits(1).long()].tolist()
        frames = [arc_frames(arcs[begin:end, 0], arcs[begin:end, 1]) for begin, end in pairwise(splits)]
        lattices.frame = torch.from_numpy(np.concatenate(frames).astype(np.int32))
        complete = (arcs[:, 2] == FINAL) & (lattices.opened.numpy() == 0)
        split = split_lattices(lattices, scores, self.config.acoustic_scale)
        reached = [complete[begin:end][at >= 0] for (begin, end), at in zip(pairwise(splits), frames, strict=True)]
        return [GrowingLattice(lattice, ends) for lattice, ends in zip(split, reached, strict=True)]

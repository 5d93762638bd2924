"""First pass over a stream: lattices that grow chunk by chunk (k2's online intersection), equal to the offline ones.

k2 1.23.4's online intersection prunes at each chunk's end against the graph's final states, so every hypothesis in the
middle of a word would be lost. Therefore it runs on a graph that may pause in any state. The last chunk runs on a twin
with the same arcs, on which a pause costs so much that it is taken only where nothing else reaches the end.

Letters: S streams, T frames, V units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import k2
import numpy as np
import torch
from torch import Tensor

from augmem.decoding.config import SearchConfig
from augmem.decoding.lattice import FINAL, Floats, Lattice, arc_frames
from augmem.decoding.search import DecodingGraph, prepared, split_lattices, with_open_ends

PAUSE_PENALTY = -1e6


@dataclass
class StreamSearch:
    """Where the search of one stream (or of one segment of it) stands.

    Args:
        state: k2's own, opaque; None before the first chunk. Decoding does not change it, so it may be kept.
        log_probs: chunks (T, V) decoded so far.
    """

    state: Any = None
    log_probs: list[Tensor] = field(default_factory=list)

    @property
    def num_frames(self) -> int:
        """Frames decoded so far."""
        return sum(len(chunk) for chunk in self.log_probs)


@dataclass(frozen=True)
class Growing:
    """The lattice of everything a stream has been searched for.

    Args:
        lattice: its paths end in any state while the stream goes on.
        complete: which final arcs end where HLG ends, by arc; False for all others.
    """

    lattice: Lattice
    complete: np.ndarray


class OnlineSearch:
    """The decoding graph, its twin and the beams; shared by all streams.

    `output_beam` prunes at every chunk's end, where it acts as a search beam: until the last one, the search beam is
    taken for both.
    """

    def __init__(self, graph: DecodingGraph, config: SearchConfig) -> None:
        self.config = config
        self.running = prepared(with_open_ends(graph.fsa[0], everywhere=True))
        self.closing = self.running.clone()
        self.closing.scores = self.running.scores + PAUSE_PENALTY * self.running.opened
        self.closing.lm_scores = self.closing.scores.clone()
        self.num_units = graph.num_units
        self._intersecters: dict[tuple[bool, int], k2.OnlineDenseIntersecter] = {}

    def advance(self, searches: Sequence[StreamSearch], chunks: Sequence[Tensor], final: bool) -> list[Growing]:
        """Search the next chunk (T, V) of each stream, all of one length; the searches are brought up to date.

        Args:
            final: whether these are the streams' last chunks.
        """
        count, frames = len(chunks), len(chunks[0])
        segments = torch.tensor([[number, 0, frames] for number in range(count)], dtype=torch.int32)
        dense = k2.DenseFsaVec(self.config.acoustic_scale * torch.stack(list(chunks)).float(), segments)
        lattices, states = self._intersecter(final, count).decode(dense, [search.state for search in searches])
        for search, state, chunk in zip(searches, states, chunks, strict=True):
            search.state = state
            search.log_probs.append(chunk)
        return self._split(lattices, [torch.cat(s.log_probs).double().numpy() for s in searches])

    def _intersecter(self, final: bool, count: int) -> k2.OnlineDenseIntersecter:
        """k2's class wants to know the number of streams when it is made; making one costs next to nothing."""
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

    def _split(self, lattices: k2.Fsa, scores: Sequence[Floats]) -> list[Growing]:
        arcs = lattices.arcs.values().numpy()
        shape = lattices.arcs.shape()
        splits = shape.row_splits(2)[shape.row_splits(1).long()].tolist()
        frames = [arc_frames(arcs[begin:end, 0], arcs[begin:end, 1]) for begin, end in pairwise(splits)]
        lattices.frame = torch.from_numpy(np.concatenate(frames).astype(np.int32))
        complete = (arcs[:, 2] == FINAL) & (lattices.opened.numpy() == 0)
        split = split_lattices(lattices, scores, self.config.acoustic_scale)
        reached = [complete[begin:end][at >= 0] for (begin, end), at in zip(pairwise(splits), frames, strict=True)]
        return [Growing(lattice, ends) for lattice, ends in zip(split, reached, strict=True)]

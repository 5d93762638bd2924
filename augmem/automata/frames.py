"""Conversion of k2 acceptors into frame graphs, whose states carry the outputs (see `augmem.graph.FrameGraph`)."""

from __future__ import annotations

import torch
from torch import Tensor

from augmem.graph import FrameGraph, scatter_logsumexp
from augmem.lazy_k2 import k2


def frame_graph(fsa: k2.Fsa) -> FrameGraph:
    """Convert an acceptor, whose label 0 is an output like any other, into a frame graph.

    An automaton without arcs becomes a graph without states, which accepts nothing.
    """
    arcs = fsa.arcs.values()[:, :3].long().cpu()
    scores = fsa.scores.detach().float().cpu()
    inner = arcs[:, 2] != -1
    num_states = int(arcs[:, :2].max()) + 1 if len(arcs) else 0
    final = scatter_logsumexp(scores[~inner], arcs[~inner, 0], num_states)
    return _unfold(arcs[inner], scores[inner], final)


def _unfold(arcs: Tensor, scores: Tensor, final: Tensor) -> FrameGraph:
    """Split states by incoming label; an arc leaves every part of its source and enters one part of its target.

    Args:
        arcs: (n, 3) source, target, label; no final arcs.
        scores: (n,) score of each arc.
        final: (states,) score of each state in the last frame.
    """
    num_labels = int(arcs[:, 2].max()) + 1 if len(arcs) else 1
    keys, heads = torch.unique(arcs[:, 1] * num_labels + arcs[:, 2], return_inverse=True)
    origin = keys // num_labels  # state of the automaton that each new state is part of; ascending
    parts = torch.bincount(origin, minlength=len(final))
    first_part = torch.cumsum(parts, 0) - parts

    starting = arcs[:, 0] == 0
    initial = scatter_logsumexp(scores[starting], heads[starting], len(keys))
    copies = parts[arcs[:, 0]]  # of each arc
    rank = torch.arange(int(copies.sum())) - torch.repeat_interleave(torch.cumsum(copies, 0) - copies, copies)
    sources = torch.repeat_interleave(first_part[arcs[:, 0]], copies) + rank
    targets = torch.repeat_interleave(heads, copies)
    return FrameGraph(
        keys % num_labels, initial, final[origin], sources, targets, torch.repeat_interleave(scores, copies)
    )

"""Frame graphs: automata whose states, not arcs, carry the outputs.

In a k2 acceptor the arcs carry the outputs. Here every pair (state, label of an incoming arc) becomes a state that
emits this label in each frame spent in it. A step of the forward or backward recursion is then a linear map followed by
an elementwise product, both efficient tensor operations.

Letters: S states, A arcs, K arcs into (or out of) one state at most, B utterances.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from augmem.devices import to_device

INFINITE = float("inf")


class FrameGraph(NamedTuple):
    """One automaton over frames; scores are natural logs in float32, on the CPU.

    Args:
        labels: (S,) output of each state.
        initial: (S,) score of each state in the first frame.
        final: (S,) score of each state in the last frame.
        sources, targets, scores: (A,) arcs between states; probabilities of parallel arcs add up.
    """

    labels: Tensor
    initial: Tensor
    final: Tensor
    sources: Tensor
    targets: Tensor
    scores: Tensor


class FrameGraphs(NamedTuple):
    """A batch of frame graphs, with arcs as tables, for the log-domain recursion.

    Index S in the tables is padding: a state beyond the last, whose score is -inf.

    Args:
        labels, owners: (S,) output of each state, and the utterance it belongs to.
        members: (B, M) states of each utterance.
        initial, final: (S,) scores in the first and last frame.
        incoming, incoming_scores: (K, S) source states of the arcs into each state.
        outgoing, outgoing_scores: (K', S) target states of the arcs out of each state.
        batch: number of utterances B.
    """

    labels: Tensor
    owners: Tensor
    members: Tensor
    initial: Tensor
    final: Tensor
    incoming: Tensor
    incoming_scores: Tensor
    outgoing: Tensor
    outgoing_scores: Tensor
    batch: int

    def to(self, device: torch.device) -> FrameGraphs:
        """Copy the graphs to a device."""
        return to_device(self, device)


def stack_graphs(graphs: Sequence[FrameGraph]) -> FrameGraphs:
    """Combine graphs into a batch: utterance b has graph b."""
    sizes = torch.tensor([len(graph.labels) for graph in graphs])
    offsets = (torch.cumsum(sizes, 0) - sizes).tolist()
    sources = torch.cat([graph.sources + offset for graph, offset in zip(graphs, offsets, strict=True)])
    targets = torch.cat([graph.targets + offset for graph, offset in zip(graphs, offsets, strict=True)])
    scores = torch.cat([graph.scores for graph in graphs])
    total = int(sizes.sum())
    owners = torch.repeat_interleave(torch.arange(len(graphs)), sizes)
    return FrameGraphs(
        torch.cat([graph.labels for graph in graphs]),
        owners,
        _table(owners, torch.arange(total), torch.zeros(total), len(graphs), total)[0].t(),
        torch.cat([graph.initial for graph in graphs]),
        torch.cat([graph.final for graph in graphs]),
        *_table(targets, sources, scores, total, total),
        *_table(sources, targets, scores, total, total),
        len(graphs),
    )


def _table(keys: Tensor, values: Tensor, scores: Tensor, size: int, padding: int) -> tuple[Tensor, Tensor]:
    """Group values by key: (K, size) values and scores of each group, padded with `padding` and -inf."""
    order = torch.argsort(keys)
    keys = keys[order]
    sizes = torch.bincount(keys, minlength=size)
    rank = torch.arange(len(keys)) - (torch.cumsum(sizes, 0) - sizes)[keys]
    widest = max(int(sizes.max()) if size else 0, 1)
    table = torch.full((widest, size), padding)
    table_scores = torch.full((widest, size), -INFINITE)
    table[rank, keys] = values[order]
    table_scores[rank, keys] = scores[order]
    return table, table_scores


def scatter_logsumexp(scores: Tensor, index: Tensor, size: int) -> Tensor:
    """Return the log-sum-exp (size,) of the scores of each index; -inf for an index without scores.

    Args:
        scores: (n,) natural logs.
        index: (n,) index of each score, less than `size`.
        size: number of indices.
    """
    sums = torch.zeros(size, dtype=torch.float64, device=scores.device)
    return sums.index_add_(0, index, scores.double().exp()).log().to(scores.dtype)

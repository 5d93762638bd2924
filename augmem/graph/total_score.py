"""Total scores of frame graphs given log probabilities: exact sums over all paths.

`graphs_score` and `DenseGraph.score` take log_probs (B, T, V) and frame counts lengths (B,), and return (B,) the log of
the sum over all paths of exactly lengths[b] frames. The gradient, the expected count of each output in each frame, is
computed together with the sum: one loop over frames advances the forward and the backward recursion.

A row without any path has score -inf and gradient 0. NaN in the input gives NaN in the output.

Letters: B utterances, T frames, V outputs, S states, K maximum number of arcs of a state.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from augmem.graph.frames import INFINITE, FrameGraph, FrameGraphs
from augmem.graph.scaled import TINY, scaled_score

LOWEST = -1e30
Compute = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
_NARROW = 3  # rows of the arc table that cover all states


def graphs_score(log_probs: Tensor, lengths: Tensor, graphs: FrameGraphs) -> Tensor:
    """Compute total scores with one small graph per utterance, without underflow.

    Args:
        log_probs: (B, T, V).
        lengths: (B,) frames.
        graphs: B graphs.

    Returns:
        (B,) total scores; differentiable.

    Raises:
        ValueError: numbers of rows, lengths and graphs differ, or a graph has an output that the model lacks.
    """
    check_shapes(log_probs, lengths, graphs.batch)
    if len(graphs.labels) and int(graphs.labels.max()) >= log_probs.shape[2]:
        raise ValueError(f"graphs use output {int(graphs.labels.max())}, the model has {log_probs.shape[2]}")
    return TotalScore.apply(log_probs, lengths, partial(_small_graphs, graphs=graphs.to(log_probs.device)))


def check_shapes(log_probs: Tensor, lengths: Tensor, rows: int) -> None:
    if log_probs.dim() != 3 or lengths.shape != (rows,) or log_probs.shape[0] != rows:
        raise ValueError(
            f"log_probs {tuple(log_probs.shape)} must be (B, T, V), lengths {tuple(lengths.shape)} (B,), B = {rows}"
        )
    if not log_probs.shape[1]:
        raise ValueError(f"log_probs {tuple(log_probs.shape)} have no frames")
    if bool((lengths < 0).any() | (lengths > log_probs.shape[1]).any()):
        raise ValueError(f"lengths {lengths.tolist()} must lie between 0 and T = {log_probs.shape[1]}")


def _mirror(lengths: Tensor, time: Tensor) -> Tensor:
    """Return (T, B) the frame that the backward recursion visits at each step; arbitrary after its end."""
    return (lengths - 1 - time) % len(time)


class TotalScore(torch.autograd.Function):
    """Total scores whose gradient is computed together with them.

    Called with log_probs (B, T, V), lengths (B,), and a function of both that returns scores (B,) and expected counts
    (B, T, V).
    """

    @staticmethod
    def forward(ctx: Any, log_probs: Tensor, lengths: Tensor, compute: Compute) -> Tensor:
        score, counts = compute(log_probs.detach(), lengths.to(log_probs.device))
        ctx.save_for_backward(counts)
        return score.to(log_probs.dtype)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (counts,) = ctx.saved_tensors
        return counts * grad[:, None, None], None, None


def _small_graphs(log_probs: Tensor, lengths: Tensor, graphs: FrameGraphs) -> tuple[Tensor, Tensor]:
    """Return scores (B,) and expected counts (B, T, V); in the log domain where that of probabilities is not exact."""
    score, posterior, exact = scaled_score(log_probs, lengths, graphs)
    if not bool(exact.all()):
        score, posterior = _log_domain(log_probs, lengths, graphs)
    return score, _counts(posterior.to(log_probs.dtype), graphs, log_probs.shape)


def _log_domain(log_probs: Tensor, lengths: Tensor, graphs: FrameGraphs) -> tuple[Tensor, Tensor]:
    """Return scores (B,) and posteriors of the states (T, S).

    The backward recursion is the forward one on reversed arcs and reversed time, so both advance as one vector of 2 S
    states. `reach` is the score of arriving in a state, without its own emission.
    """
    T, S = log_probs.shape[1], len(graphs.labels)
    time = torch.arange(T, device=log_probs.device)[:, None]
    mirrored = _mirror(lengths, time)
    emissions = log_probs[graphs.owners, :, graphs.labels].t()  # (T, S)
    back = mirrored[:, graphs.owners]  # (T, S)
    emit = torch.cat([emissions, emissions.gather(0, back)], dim=1)
    reach = _arrivals(emit, *_both_ways(graphs, log_probs.dtype))
    alpha = reach[:, :S] + emissions
    last = alpha.gather(0, (lengths - 1).clamp(min=0)[None, graphs.owners])[0] + graphs.final
    last = torch.nn.functional.pad(last, (0, 1), value=-INFINITE)[graphs.members]  # (B, M)
    score = last.logsumexp(1).masked_fill(lengths == 0, -INFINITE)
    posterior = (alpha + reach[:, S:].gather(0, back) - score[graphs.owners]).exp()
    posterior = posterior.masked_fill((time >= lengths)[:, graphs.owners], 0)
    return score, posterior.masked_fill(score[graphs.owners] == -INFINITE, 0)


def _both_ways(graphs: FrameGraphs, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return start scores (2 S,), source states and arc scores (K, 2 S) of the graphs, forward and mirrored."""
    S = len(graphs.labels)
    K = max(len(graphs.incoming), len(graphs.outgoing), 1)

    def pad(x: Tensor, value: float) -> Tensor:
        return torch.nn.functional.pad(x, (0, 0, 0, K - len(x)), value=value)

    backward = torch.where(graphs.outgoing == S, 2 * S, graphs.outgoing + S)
    forward = torch.where(graphs.incoming == S, 2 * S, graphs.incoming)
    sources = torch.cat([pad(forward, 2 * S), pad(backward, 2 * S)], dim=1)
    scores = torch.cat([pad(graphs.incoming_scores, -INFINITE), pad(graphs.outgoing_scores, -INFINITE)], dim=1)
    return torch.cat([graphs.initial, graphs.final]).to(dtype), sources, scores.to(dtype)


def _arrivals(emit: Tensor, start: Tensor, sources: Tensor, scores: Tensor) -> Tensor:
    """Run the recursion: (T, n) log-sum-exp over all paths into each state at each frame.

    Most states have few arcs and some have many, so the table is split: its first rows are computed for all states, the
    other rows only for the states with more arcs.
    """
    reach = torch.empty_like(emit)
    state = emit.new_full((len(start) + 1,), -INFINITE)  # the last one is padding
    busy = (scores[_NARROW:] != -INFINITE).any(0).nonzero()[:, 0]
    narrow = _Step(sources[:_NARROW], scores[:_NARROW])
    wide = _Step(sources[_NARROW:, busy], scores[_NARROW:, busy])
    few, more = emit.new_empty(len(busy)), emit.new_empty(len(busy))
    for t in range(len(emit)):
        if t == 0:
            reach[0] = start
        else:
            narrow(state, out=reach[t])
            if len(busy):
                torch.index_select(reach[t], 0, busy, out=few)
                wide(state, out=more)
                reach[t].index_copy_(0, busy, torch.logaddexp(few, more, out=few))
        torch.add(reach[t], emit[t], out=state[:-1])
    return reach


class _Step:
    """Log-sum-exp over the arcs into states, given tables (K, n) of source states and arc scores.

    In buffers that all frames share: the recursion spends most of its time in allocations and calls, not in arithmetic.
    """

    def __init__(self, sources: Tensor, scores: Tensor) -> None:
        self.index, self.scores = sources.flatten(), scores.contiguous()
        self.arcs, self.peak = torch.empty_like(self.scores), self.scores.new_empty(self.scores.shape[1])

    def __call__(self, state: Tensor, out: Tensor) -> None:
        arcs, peak = self.arcs, self.peak
        torch.index_select(state, 0, self.index, out=arcs.view(-1))
        arcs += self.scores
        torch.amax(arcs, 0, out=peak)
        peak.clamp_(min=LOWEST)  # of states without a path; -inf minus -inf would be NaN
        torch.sum(arcs.sub_(peak).exp_(), 0, out=out)
        out.log_().add_(peak)


def _counts(posterior: Tensor, graphs: FrameGraphs, shape: torch.Size) -> Tensor:
    """Sum state posteriors (T, S) into expected counts of outputs (B, T, V)."""
    B, T, V = shape
    counts = posterior.new_zeros(T, B * V)
    counts.scatter_add_(1, (graphs.owners * V + graphs.labels).expand(T, -1), posterior)
    return counts.view(T, B, V).transpose(0, 1)


class DenseGraph:
    """One graph for all utterances, as a matrix: each frame of the recursions is a matrix product.

    The recursions use float64 probabilities, rescaled every second frame, so that states down to e^-600 times the most
    likely one contribute. Intended for graphs in which every state is reached from every other within a few frames.

    Args:
        graph: the graph; its matrix has S^2 entries.
    """

    def __init__(self, graph: FrameGraph) -> None:
        S = len(graph.labels)
        forward = torch.zeros(S * S, dtype=torch.float64)
        forward.index_add_(0, graph.sources * S + graph.targets, graph.scores.double().exp())
        forward = forward.view(S, S)
        self.labels = graph.labels
        self.transitions = torch.stack([forward, forward.t()])  # (2, S, S)
        self.start = torch.stack([graph.initial, graph.final]).double().exp()  # (2, S)

    def score(self, log_probs: Tensor, lengths: Tensor) -> Tensor:
        """Return total scores (B,) of log_probs (B, T, V) over lengths (B,) frames; differentiable."""
        check_shapes(log_probs, lengths, len(log_probs))
        self._to(log_probs.device)
        return TotalScore.apply(log_probs, lengths, partial(_probability_domain, graph=self))

    def _to(self, device: torch.device) -> None:
        self.labels, self.transitions, self.start = (x.to(device) for x in (self.labels, self.transitions, self.start))


def _probability_domain(log_probs: Tensor, lengths: Tensor, graph: DenseGraph) -> tuple[Tensor, Tensor]:
    """Return scores (B,) and expected counts (B, T, V); the state posteriors of each frame sum to one."""
    B, T, V = log_probs.shape
    rows = torch.arange(B, device=log_probs.device)
    time = torch.arange(T, device=log_probs.device)[:, None]
    mirrored = _mirror(lengths, time)
    peaks = log_probs.amax(2).t().double().clamp(min=LOWEST)  # (T, B)
    outputs = (log_probs.transpose(0, 1).double() - peaks[:, :, None]).exp()
    emissions = outputs[:, :, graph.labels]  # (T, B, S)
    emit = torch.stack([emissions, emissions[mirrored, rows]], dim=1)  # (T, 2, B, S)
    states, scales = _rescaled_recursion(emit, graph)
    ends = (states[(lengths - 1).clamp(min=0), 0, rows] * graph.start[1]).sum(1)
    score = (scales[:, 0].log() + peaks).masked_fill(time >= lengths, 0).sum(0) + ends.log()
    score = score.masked_fill(lengths == 0, -INFINITE)
    onward = states[mirrored, 1, rows] / emissions.clamp(min=TINY)  # backward score, up to a factor
    posterior = states[:, 0] * onward
    posterior /= posterior.sum(2, keepdim=True).clamp(min=TINY)
    posterior.masked_fill_(((time >= lengths) | (score == -INFINITE))[:, :, None], 0)
    one_hot = torch.nn.functional.one_hot(graph.labels, V).to(log_probs.dtype)
    return score, (posterior.to(log_probs.dtype) @ one_hot).transpose(0, 1)


def _rescaled_recursion(emit: Tensor, graph: DenseGraph) -> tuple[Tensor, Tensor]:
    """Run both recursions: states (T, 2, B, S), and the factors (T, 2, B) by which they and later ones are divided."""
    states = torch.empty_like(emit)
    scales = emit.new_ones(emit.shape[:3])
    reach = graph.start[:, None].expand(emit.shape[1:])
    for t in range(len(emit)):
        state = torch.mul(reach, emit[t], out=states[t])
        if t % 2:
            torch.sum(state, 2, out=scales[t]).clamp_(min=TINY)
            state /= scales[t, :, :, None]
        reach = torch.bmm(state, graph.transitions)
    return states, scales

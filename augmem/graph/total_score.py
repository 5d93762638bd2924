"""Total scores of frame graphs given log probabilities: exact sums over all paths.

`graphs_score` and the `score` of `DenseGraph` and `SparseGraph` take log_probs (B, T, V) and frame counts lengths
(B,), and return (B,) the log of the sum over all paths of exactly lengths[b] frames. The gradient, the expected count
of each output in each frame, is computed together with the sum: one loop over frames advances the forward and the
backward recursion.

A row without any path has score -inf and gradient 0. NaN in the input gives NaN in the output.

Letters: B utterances, T frames, V outputs, S states, K maximum number of arcs of a state.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from augmem.devices import to_device
from augmem.graph.frames import INFINITE, FrameGraphs
from augmem.graph.scaled import scaled_score

LOWEST = -1e30
Compute = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
_NARROW = 3  # rows of the arc table that cover all states
BLOCK = 1 << 23  # frames times states computed at once: some 0.4 GB


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
    return TotalScore.apply(log_probs, lengths, partial(_score_small_graphs, graphs=graphs))


def check_shapes(log_probs: Tensor, lengths: Tensor, rows: int) -> None:
    if log_probs.dim() != 3 or lengths.shape != (rows,) or log_probs.shape[0] != rows:
        raise ValueError(
            f"log_probs {tuple(log_probs.shape)} must be (B, T, V), lengths {tuple(lengths.shape)} (B,), B = {rows}"
        )
    if not log_probs.shape[1]:
        raise ValueError(f"log_probs {tuple(log_probs.shape)} have no frames")
    if bool((lengths < 0).any() | (lengths > log_probs.shape[1]).any()):
        raise ValueError(f"lengths {lengths.tolist()} must lie between 0 and T = {log_probs.shape[1]}")


def mirror_time(lengths: Tensor, time: Tensor) -> Tensor:
    """Return (T, B) the frame that the backward recursion visits at each step; arbitrary after its end."""
    return (lengths - 1 - time) % len(time)


class TotalScore(torch.autograd.Function):
    """Total scores whose gradient is computed together with them.

    Called with log_probs (B, T, V), lengths (B,), and a function of both that returns scores (B,) and expected counts
    (B, T, V).
    """

    @staticmethod
    def forward(ctx: Any, log_probs: Tensor, lengths: Tensor, compute: Compute) -> Tensor:
        score, counts = compute(log_probs.detach(), to_device(lengths, log_probs.device))
        ctx.save_for_backward(counts)
        return score.to(log_probs.dtype)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (counts,) = ctx.saved_tensors
        return counts * grad[:, None, None], None, None


def _score_small_graphs(log_probs: Tensor, lengths: Tensor, graphs: FrameGraphs) -> tuple[Tensor, Tensor]:
    """Return scores (B,) and expected counts (B, T, V).

    Computed with probabilities, or with their logarithms if that is not exact or would need much memory.
    """
    if log_probs.shape[1] * len(graphs.labels) <= BLOCK:
        score, posterior, exact = scaled_score(log_probs, lengths, graphs)
        if bool(exact.all()):
            return score, _counts(posterior.to(log_probs.dtype), graphs.to(log_probs.device), log_probs.shape)
    return _score_with_logarithms(log_probs, lengths, graphs.to(log_probs.device))


def _score_with_logarithms(log_probs: Tensor, lengths: Tensor, graphs: FrameGraphs) -> tuple[Tensor, Tensor]:
    """Return scores (B,) and expected counts (B, T, V), in memory linear in T.

    Blocks of frames are computed from the last to the first. Before, the forward recursion runs once over all of them,
    to store its state at the first frame of each block (Griewank, 1992). Most batches are one block, computed once.
    """
    T = log_probs.shape[1]
    width = max(1, BLOCK // max(1, len(graphs.labels)))
    recursion = _join_directions(graphs, log_probs.dtype)
    starts = _block_starts(log_probs, graphs, recursion, width)
    score, counts = log_probs.new_full(lengths.shape, -INFINITE), torch.empty_like(log_probs)
    onward = recursion.start[len(graphs.labels) :]
    for index in reversed(range(len(starts))):
        first, last = index * width, min((index + 1) * width, T)
        block = _Block(log_probs[:, first:last], (lengths - first).clamp(0, last - first), graphs)
        onward = block.run(recursion, torch.cat([starts[index], onward]))
        score = torch.where((lengths > first) & (lengths <= last), block.score(), score)
        counts[:, first:last] = block.counts(score)
    return score, counts


class _JointRecursion(NamedTuple):
    """Forward and backward recursion of the graphs, as one recursion over n = 2 S states.

    The backward recursion is the forward one on reversed arcs and reversed time.

    Args:
        start: (n,) scores in the first frame.
        sources, scores: (K, n) source states of the arcs into each state; index n is padding.
    """

    start: Tensor
    sources: Tensor
    scores: Tensor

    def forward(self) -> _JointRecursion:
        """Return the forward half."""
        S = len(self.start) // 2
        return _JointRecursion(self.start[:S], self.sources[:, :S].clamp(max=S), self.scores[:, :S])


def _join_directions(graphs: FrameGraphs, dtype: torch.dtype) -> _JointRecursion:
    S = len(graphs.labels)
    K = max(len(graphs.incoming), len(graphs.outgoing), 1)

    def pad(x: Tensor, value: float) -> Tensor:
        return torch.nn.functional.pad(x, (0, 0, 0, K - len(x)), value=value)

    backward = torch.where(graphs.outgoing == S, 2 * S, graphs.outgoing + S)
    forward = torch.where(graphs.incoming == S, 2 * S, graphs.incoming)
    sources = torch.cat([pad(forward, 2 * S), pad(backward, 2 * S)], dim=1)
    scores = torch.cat([pad(graphs.incoming_scores, -INFINITE), pad(graphs.outgoing_scores, -INFINITE)], dim=1)
    return _JointRecursion(torch.cat([graphs.initial, graphs.final]).to(dtype), sources, scores.to(dtype))


def _block_starts(log_probs: Tensor, graphs: FrameGraphs, recursion: _JointRecursion, width: int) -> list[Tensor]:
    """Return the forward scores (S,) of arriving at the first frame of each block of `width` frames."""
    forward = recursion.forward()
    starts = [forward.start]
    for first in range(0, log_probs.shape[1] - width, width):
        emissions = log_probs[graphs.owners, first : first + width, graphs.labels].t()
        starts.append(_sum_paths(emissions, forward._replace(start=starts[-1]))[-1].clone())
    return starts


class _Block:
    """Both recursions over a block of W frames.

    Args:
        log_probs: (B, W, V).
        lengths: (B,) frames of each utterance in the block, from its first frame.
        graphs: B graphs.
    """

    def __init__(self, log_probs: Tensor, lengths: Tensor, graphs: FrameGraphs) -> None:
        self.shape, self.lengths, self.graphs = log_probs.shape, lengths, graphs
        self.time = torch.arange(log_probs.shape[1], device=log_probs.device)[:, None]
        self.back = mirror_time(lengths, self.time)[:, graphs.owners]  # (W, S)
        self.emissions = log_probs[graphs.owners, :, graphs.labels].t()  # (W, S)

    def run(self, recursion: _JointRecursion, start: Tensor) -> Tensor:
        """Compute both recursions from scores `start` (2 S,) of arriving at the first and last frame of the block.

        Returns:
            (S,) backward scores of arriving at the frame before the block.
        """
        S = len(self.graphs.labels)
        emit = torch.cat([self.emissions, self.emissions.gather(0, self.back)], dim=1)
        reach = _sum_paths(emit, recursion._replace(start=start))
        self.alpha, self.beta = reach[:-1, :S] + self.emissions, reach[:, S:]
        return self.beta.gather(0, self.lengths[None, self.graphs.owners])[0]

    def score(self) -> Tensor:
        """Return the total scores (B,) of utterances that end in the block; other values are arbitrary."""
        last = self.alpha.gather(0, (self.lengths - 1).clamp(min=0)[None, self.graphs.owners])[0] + self.graphs.final
        return torch.nn.functional.pad(last, (0, 1), value=-INFINITE)[self.graphs.members].logsumexp(1)

    def counts(self, score: Tensor) -> Tensor:
        """Return expected counts (B, W, V), given the total scores (B,) of all frames."""
        owners = self.graphs.owners
        posterior = (self.alpha + self.beta.gather(0, self.back) - score[owners]).exp()
        posterior = posterior.masked_fill((self.time >= self.lengths)[:, owners], 0)
        posterior = posterior.masked_fill(score[owners] == -INFINITE, 0)
        return _counts(posterior, self.graphs, self.shape)


def _sum_paths(emit: Tensor, recursion: _JointRecursion) -> Tensor:
    """Return (T + 1, n) log-sum-exp of all paths into each state at each frame, without the emission of that frame.

    Most states have few arcs and some have many, so the table is split: its first rows are computed for all states, the
    other rows only for the states with more arcs.
    """
    start, sources, scores = recursion
    reach = emit.new_empty(len(emit) + 1, len(start))
    state = emit.new_full((len(start) + 1,), -INFINITE)  # the last one is padding
    busy = (scores[_NARROW:] != -INFINITE).any(0).nonzero()[:, 0]
    narrow = _ArcSum(sources[:_NARROW], scores[:_NARROW])
    wide = _ArcSum(sources[_NARROW:, busy], scores[_NARROW:, busy])
    few, more = emit.new_empty(len(busy)), emit.new_empty(len(busy))
    reach[0] = start
    for t in range(len(emit)):
        torch.add(reach[t], emit[t], out=state[:-1])
        narrow(state, out=reach[t + 1])
        if len(busy):
            torch.index_select(reach[t + 1], 0, busy, out=few)
            wide(state, out=more)
            reach[t + 1].index_copy_(0, busy, torch.logaddexp(few, more, out=few))
    return reach


class _ArcSum:
    """Log-sum-exp over the arcs into states, given tables (K, n) of source states and arc scores.

    All frames share its buffers, since the recursion spends most of its time in allocations and calls.
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

"""Total scores of one graph, as a dense matrix: exact, in blocks of frames where all frames would need much memory.

Letters: B utterances, T frames, W frames of a block, V outputs, S states.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from augmem.graph.frames import INFINITE, FrameGraph
from augmem.graph.scaled import TINY
from augmem.graph.total_score import BLOCK, LOWEST, TotalScore, check_shapes, mirror_time

_EVERY = 2  # frames between two rescalings


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
        return TotalScore.apply(log_probs, lengths, partial(_forward_backward, graph=self))

    def _to(self, device: torch.device) -> None:
        self.labels, self.transitions, self.start = (x.to(device) for x in (self.labels, self.transitions, self.start))


def _forward_backward(log_probs: Tensor, lengths: Tensor, graph: DenseGraph) -> tuple[Tensor, Tensor]:
    """Return scores (B,) and expected counts (B, T, V); the state posteriors of each frame sum to one.

    Blocks of frames are computed from the last to the first. Before, the forward recursion runs once over all of them,
    to store its state at the first frame of each block (Griewank, 1992). Most batches are one block, computed once.
    """
    B, T, _ = log_probs.shape
    width = max(1, BLOCK // max(1, B * len(graph.labels)) // _EVERY) * _EVERY
    starts = _block_starts(log_probs, graph, width)
    score, counts = log_probs.new_zeros(B, dtype=torch.float64), torch.empty_like(log_probs)
    onward = graph.start[1].expand(B, -1)
    for index in reversed(range(len(starts))):
        first, last = index * width, min((index + 1) * width, T)
        inside = (lengths - first).clamp(0, last - first)
        block = _run_block(log_probs[:, first:last], inside, torch.stack([starts[index], onward]), graph)
        ends = (lengths > first) & (lengths <= last)
        score += torch.where(ends, block.score + block.end, block.score)
        counts[:, first:last], onward = block.counts, block.onward
    score = score.masked_fill(lengths == 0, -INFINITE)
    return score, counts.masked_fill_((score == -INFINITE)[:, None, None], 0)


def _block_starts(log_probs: Tensor, graph: DenseGraph, width: int) -> list[Tensor]:
    """Return the forward probabilities (B, S) of arriving at the first frame of each block of `width` frames."""
    starts = [graph.start[0].expand(log_probs.shape[0], -1)]
    for first in range(0, log_probs.shape[1] - width, width):
        emit = _emissions(log_probs[:, first : first + width], graph)[0]
        starts.append(_recursion(emit[:, None], starts[-1][None], graph.transitions[:1])[2][0])
    return starts


class _BlockResult(NamedTuple):
    """Results of a block.

    Args:
        score: (B,) logarithm of the factors that the block has divided the forward probabilities by.
        end: (B,) logarithm of the remaining probability of utterances that end in the block.
        counts: (B, W, V) expected counts.
        onward: (B, S) backward probabilities of arriving at the frame before the block, up to a factor.
    """

    score: Tensor
    end: Tensor
    counts: Tensor
    onward: Tensor


def _run_block(log_probs: Tensor, lengths: Tensor, start: Tensor, graph: DenseGraph) -> _BlockResult:
    """Compute both recursions over the frames of a block.

    Args:
        log_probs: (B, W, V).
        lengths: (B,) frames of each utterance in the block.
        start: (2, B, S) probabilities of arriving at its first frame, and backwards at its last.
        graph: the graph.
    """
    B, W, V = log_probs.shape
    rows = torch.arange(B, device=log_probs.device)
    time = torch.arange(W, device=log_probs.device)[:, None]
    mirrored, real, last = mirror_time(lengths, time), time < lengths, (lengths - 1).clamp(min=0)
    emissions, peaks = _emissions(log_probs, graph)
    emit = torch.stack([emissions, emissions[mirrored, rows]], dim=1)  # (W, 2, B, S)
    states, scales, _ = _recursion(emit, start, graph.transitions)
    end = (states[last, 0, rows] * graph.start[1]).sum(1)
    score = (scales[:, 0].log() + peaks).masked_fill(~real, 0).sum(0)
    onward = states[mirrored, 1, rows] / emissions.clamp(min=TINY)  # backward score, up to a factor
    posterior = states[:, 0] * onward
    posterior /= posterior.sum(2, keepdim=True).clamp(min=TINY)
    posterior.masked_fill_(~real[:, :, None], 0)
    one_hot = torch.nn.functional.one_hot(graph.labels, V).to(log_probs.dtype)
    counts = (posterior.to(log_probs.dtype) @ one_hot).transpose(0, 1)
    before = states[last, 1, rows] @ graph.transitions[1]
    before /= before.sum(1, keepdim=True).clamp(min=TINY)
    return _BlockResult(score, end.log(), counts, torch.where(lengths[:, None] > 0, before, start[1]))


def _emissions(log_probs: Tensor, graph: DenseGraph) -> tuple[Tensor, Tensor]:
    """Return the probability of the output of each state (W, B, S), relative to e^peaks, and the peaks (W, B)."""
    peaks = log_probs.amax(2).t().double().clamp(min=LOWEST)
    outputs = (log_probs.transpose(0, 1).double() - peaks[:, :, None]).exp()
    return outputs[:, :, graph.labels], peaks


def _recursion(emit: Tensor, start: Tensor, transitions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Run D recursions side by side.

    Args:
        emit: (W, D, B, S) probabilities of the outputs.
        start: (D, B, S) probabilities of arriving at the first frame.
        transitions: (D, S, S).

    Returns:
        states (W, D, B, S), the factors (W, D, B) by which they and later ones are divided, and probabilities
        (D, B, S) of arriving at the frame after the last.
    """
    states, scales, reach = torch.empty_like(emit), emit.new_ones(emit.shape[:3]), start
    for t in range(len(emit)):
        state = torch.mul(reach, emit[t], out=states[t])
        if t % _EVERY == _EVERY - 1:
            torch.sum(state, 2, out=scales[t]).clamp_(min=TINY)
            state /= scales[t, :, :, None]
        reach = torch.bmm(state, transitions)
    return states, scales, reach

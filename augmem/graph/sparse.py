"""Total scores of one large graph, as a sparse matrix: exact, in memory that grows with the root of the frames.

Letters: B utterances, T frames, V outputs, S states.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from augmem.graph.frames import INFINITE, FrameGraph
from augmem.graph.scaled import TINY
from augmem.graph.total_score import LOWEST, TotalScore, check_shapes

StateT = TypeVar("StateT")


class SparseGraph:
    """One graph for all utterances, as a sparse matrix: each frame of the recursions is a sparse matrix product.

    The recursions use float64 probabilities rescaled in each frame, so that states down to e^-700 times the most likely
    one contribute. Intended for graphs in which every state is reached from every other within a few frames.

    Args:
        graph: the graph.
    """

    def __init__(self, graph: FrameGraph) -> None:
        S = len(graph.labels)
        places, scores = torch.stack([graph.targets, graph.sources]), graph.scores.double().exp()
        self.labels = graph.labels
        self.start, self.final = graph.initial.double().exp()[:, None], graph.final.double().exp()[:, None]  # (S, 1)
        self.forward, self.backward = _matrix(places, scores, S), _matrix(places.flip(0), scores, S)

    def score(self, log_probs: Tensor, lengths: Tensor) -> Tensor:
        """Return total scores (B,) of log_probs (B, T, V) over lengths (B,) frames; differentiable."""
        check_shapes(log_probs, lengths, len(log_probs))
        for name, array in vars(self).items():
            setattr(self, name, array.to(log_probs.device))
        return TotalScore.apply(log_probs, lengths, partial(_forward_backward, graph=self))


def _matrix(places: Tensor, values: Tensor, size: int) -> Tensor:
    """Return a square sparse matrix in the layout with the fastest products; values at the same position are added."""
    matrix = torch.sparse_coo_tensor(places, values, (size, size)).coalesce()
    if not torch.backends.mkl.is_available():  # on CPUs, torch multiplies compressed rows by MKL only
        return matrix
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        return matrix.to_sparse_csr()


def _forward_backward(log_probs: Tensor, lengths: Tensor, graph: SparseGraph) -> tuple[Tensor, Tensor]:
    """Return scores (B,) and expected counts (B, T, V); the state posteriors of each frame sum to one."""
    B, T, V = log_probs.shape
    peaks = log_probs.amax(2).t().double().clamp(min=LOWEST)  # (T, B)
    scales, ends = peaks.new_ones(T, B), peaks.new_zeros(B)

    def emissions(t: int) -> Tensor:  # (S, B)
        return (log_probs[:, t].t().double() - peaks[t]).exp()[graph.labels]

    def advance(reach: Tensor, t: int) -> Tensor:
        """Return the forward probabilities (S, B) after frame t, normalised over S."""
        alpha = (reach if t == 0 else graph.forward @ reach) * emissions(t)
        scales[t] = alpha.sum(0).clamp(min=TINY)
        alpha /= scales[t]
        ends[:] = torch.where(lengths == t + 1, (alpha * graph.final).sum(0), ends)
        return alpha

    counts = log_probs.new_zeros(T, V, B)
    onward = peaks.new_zeros(len(graph.labels), B)  # backward probabilities without the emission, up to a factor
    for t, alpha in states_backwards(graph.start.expand(-1, B), T, advance):
        onward = torch.where(lengths == t + 1, graph.final, onward)
        posterior = alpha * onward
        posterior /= posterior.sum(0).clamp(min=TINY)
        counts[t].index_add_(0, graph.labels, posterior.to(counts.dtype))
        onward = graph.backward @ (onward * emissions(t))
        onward /= onward.amax(0).clamp(min=TINY)
    covered = torch.arange(T, device=lengths.device)[:, None] < lengths
    score = (scales.log() + peaks).masked_fill(~covered, 0).sum(0) + ends.log()
    possible = covered & (score != -INFINITE)
    return score.masked_fill(lengths == 0, -INFINITE), counts.masked_fill_(~possible[:, None], 0).permute(2, 0, 1)


def states_backwards(
    start: StateT, frames: int, advance: Callable[[StateT, int], StateT]
) -> Iterator[tuple[int, StateT]]:
    """Yield the states of a recursion from the last frame to the first, without keeping all of them.

    Only every n-th state is kept, n being the root of the number of frames; the states between are computed twice
    (Griewank, 1992).

    Args:
        start: state before frame 0.
        frames: number of frames.
        advance: returns the state after frame t, given the state before it and t.

    Example:
        >>> list(states_backwards(0, 4, lambda state, t: state + t))
        [(3, 6), (2, 3), (1, 1), (0, 0)]
    """
    width = math.isqrt(max(frames - 1, 0)) + 1
    state, kept = start, []
    for t in range(frames):
        if t % width == 0:
            kept.append(state)
        state = advance(state, t)
    for first in range((frames - 1) // width * width, -1, -width):
        state, block = kept.pop(), []
        for t in range(first, min(first + width, frames)):
            state = advance(state, t)
            block.append((t, state))
        yield from reversed(block)

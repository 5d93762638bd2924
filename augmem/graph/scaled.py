"""Total scores of small graphs in the domain of probabilities, rescaled every few frames: three times as fast as in the
log domain.

States whose probability is below e^-700 times that of the most likely state of their utterance are lost, which matters
only where a transcript does not fit its audio at all. Such rows are found and reported: the sum over all paths must be
the same in each frame, as a sum over the states of that frame.

Letters: B utterances, T frames, V outputs, S states, A arcs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from augmem.devices import to_device
from augmem.graph.frames import INFINITE, FrameGraphs

TINY = 1e-300  # keeps 0 / 0 away; in float64
_EVERY = 8  # frames between two rescalings
_TOLERANCE = 1e-6


def scaled_score(log_probs: Tensor, lengths: Tensor, graphs: FrameGraphs) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores (B,), posteriors of the states (T, S) and whether those of each utterance are exact (B,).

    Args:
        log_probs: (B, T, V).
        lengths: (B,) frames.
        graphs: B graphs, on the CPU.
    """
    T, S = log_probs.shape[1], len(graphs.labels)
    graphs, arcs = to_device((graphs, _arcs(graphs)), log_probs.device)
    time = torch.arange(T, device=log_probs.device)[:, None]
    real = time < lengths
    mirrored = (lengths - 1 - time) % T  # the frame that the backward recursion visits at each step
    peaks = log_probs.amax(2).t().double()  # (T, B)
    emissions = (log_probs[graphs.owners, :, graphs.labels].t() - peaks[:, graphs.owners]).exp()  # (T, S)
    back = mirrored[:, graphs.owners]
    reach, scales = _reach(torch.cat([emissions, emissions.gather(0, back)], 1), graphs, arcs)
    joint = reach[:, :S].mul_(emissions).mul_(reach[:, S:].gather(0, back))
    totals = joint.new_zeros(T, graphs.batch).scatter_add_(1, graphs.owners.expand(T, S), joint)
    before, after = (scales.log().cumsum(0) - scales.log()).chunk(2, 1)
    constant = peaks.masked_fill(~real, 0).sum(0)
    scores = (totals.log() + before + after.gather(0, mirrored) + constant).masked_fill(~real, -INFINITE)
    score = scores.amax(0)
    exact = ((scores - score).abs() <= _TOLERANCE).logical_or(~real).all(0) & (score != -INFINITE)
    posterior = joint.div_(totals.clamp_(min=TINY)[:, graphs.owners]).masked_fill_(~real[:, graphs.owners], 0)
    return score, posterior, exact


def _reach(emit: Tensor, graphs: FrameGraphs, arcs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Run the forward recursion and, on reversed arcs and reversed time, the backward one, as one vector of 2 S states.

    Args:
        emit: (T, 2 S) probabilities of the outputs.
        arcs: see `_arcs`.

    Returns:
        probabilities (T, 2 S) of arriving in a state, without its own output, and the factors (T, 2 B) by which those
        of later frames are divided.
    """
    owners = torch.cat([graphs.owners, graphs.owners + graphs.batch])
    sources, targets, probabilities = arcs
    reach, scales = torch.zeros_like(emit), emit.new_ones(len(emit), 2 * graphs.batch)
    reach[0] = torch.cat([graphs.initial, graphs.final]).double().exp()
    state, moved = torch.empty_like(reach[0]), torch.empty_like(probabilities)
    for t in range(len(emit) - 1):
        torch.mul(reach[t], emit[t], out=state)
        if t % _EVERY == _EVERY - 1:
            scales[t].zero_().scatter_add_(0, owners, state).clamp_(min=TINY)
            state /= scales[t].index_select(0, owners)
        torch.index_select(state, 0, sources, out=moved)
        reach[t + 1].scatter_add_(0, targets, moved.mul_(probabilities))
    return reach, scales


def _arcs(graphs: FrameGraphs) -> tuple[Tensor, ...]:
    """Return sources, targets and probabilities (2 A,) of the arcs, forward, then reversed and between states S to 2 S.

    The order is that of the targets, so that sums into a state read adjacent numbers.
    """
    S = len(graphs.labels)
    targets, row = (graphs.incoming_scores != -INFINITE).t().nonzero().unbind(1)
    sources = graphs.incoming[row, targets]
    scores = graphs.incoming_scores[row, targets].double().exp()
    order = torch.argsort(sources, stable=True)
    reversed_arcs = targets[order] + S, sources[order] + S, scores[order]
    return tuple(map(torch.cat, zip((sources, targets, scores), reversed_arcs, strict=True)))

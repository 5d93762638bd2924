"""Lattice-free maximum mutual information (LF-MMI), optionally boosted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from augmem.graph import Denominator, FrameGraphs, graphs_score
from augmem.objective.scores import Scores, make_scores


class LatticeFreeMmi:
    """Total scores of transcripts and of all unit sequences, weighted by the same phone LM.

    Both are exact sums (Povey et al., Interspeech 2016); for any log_probs, numerator <= denominator in every row.

    Args:
        denominator: denominator of the same topology and phone LM as the numerators.
        den_scale: factor of the denominator in `loss`; 1 for MMI.
        boost: b of boosted MMI (Povey et al., ICASSP 2008), in lattice-free form: in the denominator, each frame of a
            path gains b times (1 - posterior of its output in the numerator), so that the margin of the transcript
            grows with the number of errors. The posterior has no gradient. 0: no boosting.

    Example:
        >>> from augmem.graph import FrameGraph, stack_graphs
        >>> half = torch.tensor(0.5).log()
        >>> every = FrameGraph(                              # outputs 0 and 1, each with probability 1/2 in each frame
        ...     labels=torch.tensor([0, 1]), initial=half.expand(2), final=torch.zeros(2),
        ...     sources=torch.tensor([0, 0, 1, 1]), targets=torch.tensor([0, 1, 0, 1]), scores=half.expand(4),
        ... )
        >>> transcript = every._replace(final=torch.tensor([0.0, 1.0]).log())  # ends with output 1
        >>> mmi = LatticeFreeMmi(Denominator(every))
        >>> scores = mmi(torch.tensor([[[0.9, 0.1], [0.2, 0.8]]]).log(), torch.tensor([2]), stack_graphs([transcript]))
        >>> round(mmi.loss(scores).exp().item(), 4)          # 1 / 0.8: output 1 in the last frame
        1.25
    """

    def __init__(self, denominator: Denominator, den_scale: float = 1.0, boost: float = 0.0) -> None:
        self.denominator = denominator
        self.den_scale = den_scale
        self.boost = boost

    def __call__(self, log_probs: Tensor, lengths: Tensor, graphs: FrameGraphs) -> Scores:
        """Compute the scores of a batch.

        Args:
            log_probs: (B, T, V), float32 or float64.
            lengths: (B,) frames; rows in any order.
            graphs: numerators of the transcripts, with phone LM.
        """
        boosted = log_probs
        if self.boost:
            posteriors = occupancy(lambda scores: graphs_score(scores, lengths, graphs), log_probs)
            boosted = log_probs + self.boost * (1 - posteriors)
        return make_scores(graphs_score(log_probs, lengths, graphs), self.denominator(boosted, lengths))

    def loss(self, scores: Scores) -> Tensor:
        """Return the sum over valid utterances, in nats."""
        return scores.loss(self.den_scale)


def occupancy(total: Callable[[Tensor], Tensor], log_probs: Tensor) -> Tensor:
    """Compute the posterior probability of each output in each frame: the derivative of the total score.

    Args:
        total: computes total scores (B,) from log_probs.
        log_probs: (B, T, V).

    Returns:
        (B, T, V) posteriors, without gradient.
    """
    with torch.enable_grad():
        leaf = log_probs.detach().requires_grad_()
        (posteriors,) = torch.autograd.grad(total(leaf).sum(), leaf)
    return posteriors

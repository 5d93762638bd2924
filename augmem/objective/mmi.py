"""Lattice-free maximum mutual information, boosted on request."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from augmem.graph import Denominator, FrameGraphs, NumeratorCompiler, graphs_score
from augmem.objective.scores import Scores, make_scores


class LatticeFreeMmi:
    """Scores of transcripts against scores of everything, both exact sums weighted by the same phone LM.

    With log probabilities (or any scores at all), numerator <= denominator holds for every row.

    Args:
        numerators: compiler with the phone LM.
        denominator: of the same topology and phone LM.
        den_scale: factor of the denominator in `loss`; 1 is MMI proper.
        boost: b of boosted MMI (Povey et al., ICASSP 2008), in its lattice-free form: in the denominator each frame of
            a path gains b times the numerator's doubt of its output, so that the transcript must win by a margin that
            grows with the errors. The doubt has no gradient. 0: plain MMI.

    Raises:
        ValueError: the numerators have no phone LM.
    """

    def __init__(
        self, numerators: NumeratorCompiler, denominator: Denominator, den_scale: float = 1.0, boost: float = 0.0
    ) -> None:
        if numerators.phone_lm is None:
            raise ValueError("LF-MMI needs numerators with a phone LM: NumeratorCompiler(lang, topology, phone_lm)")
        self.numerators = numerators
        self.denominator = denominator
        self.den_scale = den_scale
        self.boost = boost

    def __call__(self, log_probs: Tensor, lengths: Tensor, texts: Sequence[str]) -> Scores:
        """Scores of a batch.

        Args:
            log_probs: (B, T, V), float32 or float64.
            lengths: (B,) frames, unpadded; any order of rows.
            texts: B transcripts.
        """
        graphs = self.numerators.compile(texts)
        rivals = log_probs + self.boost * doubts(log_probs, lengths, graphs) if self.boost else log_probs
        return make_scores(graphs_score(log_probs, lengths, graphs), self.denominator(rivals, lengths))

    def loss(self, scores: Scores) -> Tensor:
        """Sum over valid utterances, in nats."""
        return scores.loss(self.den_scale)


def doubts(log_probs: Tensor, lengths: Tensor, graphs: FrameGraphs) -> Tensor:
    """(B, T, V) how unlikely each output is in each frame, given that the transcript was said: 0 to 1, no gradient."""
    return 1 - occupancy(lambda scores: graphs_score(scores, lengths, graphs), log_probs)


def occupancy(total: Callable[[Tensor], Tensor], log_probs: Tensor) -> Tensor:
    """(B, T, V) share of the paths that pass through each output in each frame; no gradient.

    Args:
        total: total scores (B,) of all paths; their derivative is what is asked for.
    """
    with torch.enable_grad():
        leaf = log_probs.detach().requires_grad_()
        (shares,) = torch.autograd.grad(total(leaf).sum(), leaf)
    return shares

"""Lattice-free maximum mutual information."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from augmem.graph import Denominator, NumeratorCompiler, graphs_score
from augmem.objective.scores import Scores, make_scores


class LatticeFreeMmi:
    """Scores of transcripts against scores of everything, both exact sums weighted by the same phone LM.

    With log probabilities (or any scores at all), numerator <= denominator holds for every row.

    Args:
        numerators: compiler with the phone LM.
        denominator: of the same topology and phone LM.
        den_scale: factor of the denominator in `loss`; 1 is MMI proper.

    Raises:
        ValueError: the numerators have no phone LM.
    """

    def __init__(self, numerators: NumeratorCompiler, denominator: Denominator, den_scale: float = 1.0) -> None:
        if numerators.phone_lm is None:
            raise ValueError("LF-MMI needs numerators with a phone LM: NumeratorCompiler(lang, topology, phone_lm)")
        self.numerators = numerators
        self.denominator = denominator
        self.den_scale = den_scale

    def __call__(self, log_probs: Tensor, lengths: Tensor, texts: Sequence[str]) -> Scores:
        """Scores of a batch.

        Args:
            log_probs: (B, T, V), float32 or float64.
            lengths: (B,) frames, unpadded; any order of rows.
            texts: B transcripts.
        """
        graphs = self.numerators.compile(texts)
        return make_scores(graphs_score(log_probs, lengths, graphs), self.denominator(log_probs, lengths))

    def loss(self, scores: Scores) -> Tensor:
        """Sum over valid utterances, in nats."""
        return scores.loss(self.den_scale)

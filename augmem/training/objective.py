"""The training objective of a batch: CTC, LF-MMI, or both on the way from one to the other."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from augmem.graph import Biphones, Denominator, NumeratorCompiler, load_fsa, output_units
from augmem.lang import Lang
from augmem.objective import LatticeFreeMmi, ctc_scores
from augmem.training.metrics import Sums


class Objective:
    """CTC and LF-MMI over the same topology.

    Args:
        lang: units and lexicon.
        graph_dir: holds P.pt.
        topology: name of H.
        den_scale: weight of the denominator.
        biphones: context of H.
    """

    def __init__(self, lang: Lang, graph_dir: Path, topology: str, den_scale: float, biphones: Biphones = ()) -> None:
        phone_lm = load_fsa(graph_dir / "P.pt")
        self.output_units = output_units(topology, lang.num_units, biphones)
        self.ctc = NumeratorCompiler(lang, topology, biphones=biphones)
        self.mmi = LatticeFreeMmi(
            NumeratorCompiler(lang, topology, phone_lm, biphones=biphones),
            Denominator(phone_lm, topology, lang.num_units, biphones=biphones),
            den_scale,
        )

    def __call__(
        self, log_probs: Tensor, lengths: Tensor, texts: list[str], ctc_weight: float
    ) -> tuple[Tensor, Tensor, Sums]:
        """Loss of a batch, in nats over its valid utterances.

        Args:
            log_probs: (B, T, V) float32.
            lengths: (B,) frames.
            texts: B transcripts.
            ctc_weight: share of CTC in the loss, 0 to 1.

        Returns:
            loss (scalar), which utterances took part (B,), and the sums for the log.
        """
        loss = log_probs.new_zeros(())
        valid = torch.ones(len(texts), dtype=torch.bool)
        sums = Sums(utterances=len(texts))
        if ctc_weight > 0:
            scores = ctc_scores(log_probs, lengths, self.ctc.compile(texts))
            valid &= scores.valid.cpu()
            loss = loss + ctc_weight * scores.loss()
            sums.ctc = float(scores.loss().detach())
        if ctc_weight < 1:
            scores = self.mmi(log_probs, lengths, texts)
            valid &= scores.valid.cpu()
            loss = loss + (1 - ctc_weight) * self.mmi.loss(scores)
            sums.numerator = float(scores.numerator.detach()[scores.valid].sum())
            sums.denominator = float(scores.denominator.detach()[scores.valid].sum())
            sums.mmi_frames = float(lengths[valid].sum())
            sums.negative = float((scores.numerator > scores.denominator + 1e-2)[scores.valid].sum())
        sums.loss = float(loss.detach())
        sums.frames = float(lengths[valid].sum())
        sums.invalid = float((~valid).sum())
        return loss, valid, sums

"""The training objective of a batch: CTC (or cross-entropy), LF-MMI, or both on the way from one to the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from augmem.graph import PHONE_LM_FILE, Denominator, NumeratorCompiler, load_fsa, output_units
from augmem.lang import Lang
from augmem.model import ModelDescription
from augmem.objective import LatticeFreeMmi, Scores, cross_entropy_scores, ctc_scores, occupancy
from augmem.training.config import TrainingConfig
from augmem.training.labels import read_labels
from augmem.training.metrics import Sums


class Objective:
    """CTC or cross-entropy, and LF-MMI, over the same topology; on the model's output and, with a weight, on those of
    its iterated-loss layers.

    Args:
        lang: units and lexicon.
        graph_dir: holds P.safetensors.
        description: topology and context of the model's outputs.
        config: den_scale, boost, iterated_loss, alignment.

    Raises:
        FileNotFoundError, ValueError: the alignment is not there, or another model's.
    """

    def __init__(self, lang: Lang, graph_dir: Path, description: ModelDescription, config: TrainingConfig) -> None:
        topology, biphones = description.topology, description.biphones
        phone_lm = load_fsa(graph_dir / PHONE_LM_FILE)
        self.output_units = output_units(topology, lang.num_units, biphones)
        self.iterated_loss = config.iterated_loss
        self.labels = read_labels(Path(config.alignment), description) if config.alignment else None
        self.ctc = NumeratorCompiler(lang, topology, biphones=biphones)
        self.mmi = LatticeFreeMmi(
            NumeratorCompiler(lang, topology, phone_lm, biphones=biphones),
            Denominator(phone_lm, topology, lang.num_units, biphones=biphones),
            config.den_scale,
            config.boost,
        )

    @property
    def fault(self) -> str:
        """What an utterance that took no part has at fault."""
        return "too short for its transcript" + (", or not aligned" if self.labels is not None else "")

    def __call__(
        self,
        levels: Sequence[Tensor],
        lengths: Tensor,
        texts: list[str],
        ctc_weight: float,
        ids: Sequence[str] | None = None,
    ) -> tuple[Tensor, Tensor, Sums]:
        """Loss of a batch, in nats over its valid utterances.

        Args:
            levels: log-probabilities (B, T, V) float32: the model's own first, then those of iterated-loss layers,
                which count in the loss but not in the log's other sums.
            lengths: (B,) frames.
            texts: B transcripts.
            ctc_weight: share of CTC or cross-entropy in the loss, 0 to 1.
            ids: B utterances' names, under which they are aligned; None has CTC in any case.

        Returns:
            loss (scalar), which utterances took part (B,), and the sums for the log.
        """
        loss, valid, sums = self._level(levels[0], lengths, texts, ctc_weight, ids)
        for lower in levels[1:]:
            loss = loss + self.iterated_loss * self._level(lower, lengths, texts, ctc_weight, ids)[0]
        sums.loss = float(loss.detach())
        return loss, valid, sums

    def reading(self, log_probs: Tensor, lengths: Tensor, ctc_weight: float) -> Tensor:
        """The best output at each frame (B, T): by the model alone while CTC trains it; under LF-MMI, which leaves part
        of the decision to the phone LM, by all paths of the denominator.
        """
        if ctc_weight == 1:
            return log_probs.argmax(-1)
        return occupancy(lambda scores: self.mmi.denominator(scores, lengths), log_probs).argmax(-1)

    def _level(
        self, log_probs: Tensor, lengths: Tensor, texts: list[str], ctc_weight: float, ids: Sequence[str] | None
    ) -> tuple[Tensor, Tensor, Sums]:
        loss = log_probs.new_zeros(())
        valid = torch.ones(len(texts), dtype=torch.bool)
        sums = Sums(utterances=len(texts))
        if ctc_weight > 0:
            scores = self._first(log_probs, lengths, texts, ids)
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
        sums.frames = float(lengths[valid].sum())
        sums.invalid = float((~valid).sum())
        return loss, valid, sums

    def _first(self, log_probs: Tensor, lengths: Tensor, texts: list[str], ids: Sequence[str] | None) -> Scores:
        """Of the objective a training begins with."""
        if self.labels is None or ids is None:
            return ctc_scores(log_probs, lengths, self.ctc.compile(texts))
        return cross_entropy_scores(log_probs, lengths, [self.labels.get(name) for name in ids])

"""Training objective of a batch: CTC (or cross-entropy), LF-MMI, or a mixture of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from augmem.graph import (
    DENOMINATOR_FILE,
    PHONE_LM_FILE,
    Denominator,
    Kind,
    Numerators,
    numerator_definition,
    output_units,
    read_denominator,
)
from augmem.lang import Lang
from augmem.model import ModelDescription
from augmem.objective import LatticeFreeMmi, Scores, cross_entropy_scores, ctc_scores, occupancy
from augmem.training.config import TrainingConfig
from augmem.training.labels import read_labels
from augmem.training.metrics import LossStats


class BatchLoss:
    """Loss of a batch.

    `valid` and `stats` are copied from the device when they are first read, in one copy: read them after the backward
    pass has been launched.

    Args:
        loss: scalar, in nats, summed over the frames of valid utterances.
        valid: (B,) bool, False for utterances without a loss.
        lengths: (B,) frames, on the CPU.
        sums: scalars by name, as in `LossStats`.

    Attributes:
        on_device: `valid` as it was given.
    """

    def __init__(self, loss: Tensor, valid: Tensor, lengths: Tensor, sums: Mapping[str, Tensor]) -> None:
        self.loss, self.lengths, self.sums = loss, lengths, sums
        self.on_device = valid

    @cached_property
    def _copied(self) -> Tensor:
        sums = [total.detach().double() for total in (self.loss, *self.sums.values())]
        return torch.cat([torch.stack(sums), self.on_device]).cpu()

    @property
    def valid(self) -> Tensor:
        """Utterances with a loss (B,) bool, on the CPU."""
        return self._copied[1 + len(self.sums) :] > 0

    @property
    def stats(self) -> LossStats:
        """Sums for the log."""
        loss, *sums = self._copied[: 1 + len(self.sums)].tolist()
        frames, invalid = float(self.lengths[self.valid].sum()), float((~self.valid).sum())
        stats = LossStats(loss, frames=frames, utterances=len(self.valid), invalid=invalid)
        if "numerator" in self.sums:
            stats.mmi_frames = frames
        return replace(stats, **dict(zip(self.sums, sums, strict=True)))


class Objective:
    """CTC or cross-entropy, and LF-MMI, over the same topology.

    Applied to the output layer and, with weight `iterated_loss`, to the iterated-loss layers.

    Args:
        lang: units and lexicon.
        graph_dir: contains the numerators, the denominator and the phone LM.
        description: topology and context of the model's outputs.
        config: den_scale, boost, iterated_loss, alignment.

    Raises:
        FileNotFoundError: there is no alignment file, or no denominator.
        UserError: the alignment belongs to another model, or the numerators are missing or out of date.
    """

    def __init__(self, lang: Lang, graph_dir: Path, description: ModelDescription, config: TrainingConfig) -> None:
        topology, biphones = description.topology, description.biphones

        def numerators(kind: Kind, phone_lm: Path | None = None) -> Numerators:
            definition = numerator_definition(lang.units_hash, topology, biphones, phone_lm)
            return Numerators(graph_dir, kind, lang, definition)

        self.lang = lang
        self.output_units = output_units(topology, lang.num_units, biphones)
        self.iterated_loss = config.iterated_loss
        self.labels = read_labels(Path(config.alignment), description) if config.alignment else None
        self.ctc_numerators = numerators("ctc")
        if config.uses_mmi:
            self.mmi_numerators = numerators("mmi", graph_dir / PHONE_LM_FILE)
            denominator = Denominator(read_denominator(graph_dir / DENOMINATOR_FILE))
            self.mmi = LatticeFreeMmi(denominator, config.den_scale, config.boost)

    @property
    def invalid_reason(self) -> str:
        """Why an utterance is not valid."""
        return "too short for its transcript" + (", or not aligned" if self.labels is not None else "")

    def __call__(
        self,
        levels: Sequence[Tensor],
        lengths: Tensor,
        texts: list[str],
        ctc_weight: float,
        ids: Sequence[str] | None = None,
    ) -> BatchLoss:
        """Compute the loss of a batch.

        Args:
            levels: log-probabilities (B, T, V) float32 of the output layer, then of the iterated-loss layers. The
                latter count in the loss but not in the other sums of the log.
            lengths: (B,) frames.
            texts: B transcripts.
            ctc_weight: share of CTC or cross-entropy in the loss, 0 to 1.
            ids: B utterance ids to look up alignments; None uses CTC.
        """
        result = self._level_loss(levels[0], lengths, texts, ctc_weight, ids)
        for level in levels[1:]:
            lower = self._level_loss(level, lengths, texts, ctc_weight, ids)
            result.loss = result.loss + self.iterated_loss * lower.loss
        return result

    def best_outputs(self, log_probs: Tensor, lengths: Tensor, ctc_weight: float) -> Tensor:
        """Return the most probable output of each frame (B, T).

        With pure CTC, they have the highest log-probability. With LF-MMI, they have the highest occupancy in the
        denominator graph, because an LF-MMI model is meaningful only together with the phone LM.

        Args:
            log_probs: (B, T, V) float32.
            lengths: (B,) frames.
            ctc_weight: share of CTC in the loss.
        """
        if ctc_weight == 1:
            return log_probs.argmax(-1)
        return occupancy(lambda scores: self.mmi.denominator(scores, lengths), log_probs).argmax(-1)

    def _level_loss(
        self, log_probs: Tensor, lengths: Tensor, texts: list[str], ctc_weight: float, ids: Sequence[str] | None
    ) -> BatchLoss:
        loss = log_probs.new_zeros(())
        valid = torch.ones(len(texts), dtype=torch.bool, device=log_probs.device)
        sums: dict[str, Tensor] = {}
        if ctc_weight > 0:
            scores = self._frame_scores(log_probs, lengths, texts, ids)
            valid = valid & scores.valid
            sums["ctc"] = scores.loss()
            loss = loss + ctc_weight * sums["ctc"]
        if ctc_weight < 1:
            scores = self.mmi(log_probs, lengths, self.mmi_numerators(texts))
            valid = valid & scores.valid
            loss = loss + (1 - ctc_weight) * self.mmi.loss(scores)
            sums |= scores.sums()
        return BatchLoss(loss, valid, lengths.cpu(), sums)

    def _frame_scores(self, log_probs: Tensor, lengths: Tensor, texts: list[str], ids: Sequence[str] | None) -> Scores:
        """Return scores of CTC, or of cross-entropy where there are alignments."""
        if self.labels is None or ids is None:
            return ctc_scores(log_probs, lengths, self.ctc_numerators(texts))
        return cross_entropy_scores(log_probs, lengths, [self.labels.get(name) for name in ids])

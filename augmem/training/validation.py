"""Validation: dev loss and unit error rate."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import kaldialign
import torch
from lhotse import CutSet

from augmem.corpus import evaluation_batches
from augmem.lang import Lang
from augmem.model import AcousticModel
from augmem.training.distributed import DistributedContext
from augmem.training.metrics import LossStats
from augmem.training.objective import Objective


def validate(
    model: AcousticModel,
    cuts: CutSet,
    objective: Objective,
    max_duration: float,
    ctc_weight: float,
    context: DistributedContext | None = None,
) -> dict[str, float]:
    """Compute the dev loss and the unit error rate of the best outputs (see `Objective.best_outputs`).

    The ranks divide the batches among them.

    Dev has no alignments: if training uses cross-entropy, the dev loss uses CTC instead. The unit error rate drops at
    the hand-over, because the phone LM takes part from then on.

    Args:
        model: model to evaluate, without dropout.
        cuts: cuts of dev, with features.
        objective: provides loss, units and lexicon.
        max_duration: maximum duration of a batch with padding, in seconds.
        ctc_weight: share of CTC in the loss.
        context: rank and world size; by default this process alone.

    Returns:
        dev_loss, in nats per frame, and dev_unit_error_rate, relative to the first pronunciation of each word.
    """
    context = context or DistributedContext()
    device = model.output.weight.device
    stats, errors, units = LossStats(), 0, 0
    training = model.training
    model.eval()
    with torch.no_grad():
        for batch in evaluation_batches(cuts, max_duration, context.rank, context.world_size):
            log_probs, lengths = model(batch.features.to(device, non_blocking=True), batch.lengths)
            stats += objective([log_probs], lengths, batch.texts, ctc_weight).stats
            outputs = objective.best_outputs(log_probs, lengths, ctc_weight).tolist()
            for row, length, text in zip(outputs, lengths.tolist(), batch.texts, strict=True):
                reference = reference_units(objective.lang, text)
                hypothesis = collapse_outputs(objective.lang, row[:length], objective.output_units)
                errors += kaldialign.edit_distance(reference, hypothesis)["total"]
                units += len(reference)
    model.train(training)
    stats = LossStats.from_tensor(context.all_reduce(stats.to_tensor()))
    errors, units = context.all_reduce(torch.tensor([errors, units])).tolist()
    return {"dev_loss": stats.means()["loss"], "dev_unit_error_rate": errors / max(1, units)}


def reference_units(lang: Lang, text: str) -> list[int]:
    """Return the units of a text, with the first pronunciation of each word."""
    words = (lang.pronunciations.get(word) or lang.pronunciations[lang.oov_word] for word in text.split())
    return [unit for pronunciations in words for unit in pronunciations[0]]


def collapse_outputs(lang: Lang, outputs: Sequence[int], unit_of: Sequence[int]) -> list[int]:
    """Merge repeated outputs as in CTC; remove blanks and silences.

    Args:
        lang: units.
        outputs: (T,) output of each frame.
        unit_of: (V,) unit of each output.
    """
    return [unit_of[output] for output, _ in groupby(outputs) if unit_of[output] not in lang.silent_ids]

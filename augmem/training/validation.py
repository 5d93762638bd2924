"""What a model makes of the dev set: loss per frame, and errors of the best units."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import kaldialign
import torch
from lhotse import CutSet

from augmem.corpus import evaluation_batches
from augmem.lang import Lang
from augmem.model import AcousticModel
from augmem.training.metrics import Sums
from augmem.training.objective import Objective

SILENT = ("SIL",)


def validate(
    model: AcousticModel, cuts: CutSet, objective: Objective, lang: Lang, max_duration: float, ctc_weight: float
) -> dict[str, float]:
    """The loss in force, and the unit error rate of the best output at each frame, against first pronunciations.

    Dev is not aligned: where training has cross-entropy, its loss is CTC's. Where CTC hands over to LF-MMI the rate
    falls at once, because from there on the phone LM helps to decide (`Objective.reading`).
    """
    device = model.output.weight.device
    sums, errors, units = Sums(), 0, 0
    training, _ = model.training, model.eval()
    with torch.no_grad():
        for batch in evaluation_batches(cuts, max_duration):
            log_probs, lengths = model(batch.features.to(device), batch.lengths.to(device))
            _, _, part = objective([log_probs], lengths, batch.texts, ctc_weight)
            sums += part
            outputs = objective.reading(log_probs, lengths, ctc_weight).tolist()
            for row, length, text in zip(outputs, lengths.tolist(), batch.texts, strict=True):
                reference = reference_units(lang, text)
                found = best_path_units(lang, row[:length], objective.output_units)
                errors += kaldialign.edit_distance(reference, found)["total"]
                units += len(reference)
    model.train(training)
    return {"dev_loss": sums.means()["loss"], "dev_unit_error_rate": errors / max(1, units)}


def reference_units(lang: Lang, text: str) -> list[int]:
    """Units of each word's first pronunciation."""
    words = (lang.pronunciations.get(word) or lang.pronunciations[lang.oov_word] for word in text.split())
    return [unit for pronunciations in words for unit in pronunciations[0]]


def best_path_units(lang: Lang, frames: list[int], unit_of: Sequence[int]) -> list[int]:
    """CTC's reading of the best output at each frame: repetitions merged, blanks and silences left out.

    Args:
        unit_of: the unit each output tells of.
    """
    silent = {lang.blank, *(lang.tokens[name] for name in SILENT if name in lang.tokens)}
    return [unit_of[output] for output, _ in groupby(frames) if unit_of[output] not in silent]

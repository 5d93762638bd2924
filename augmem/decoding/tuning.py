"""Tuning of scales on dev: a grid search, and calibration of confidences.

Only the ratio of acoustic and language model scores matters for the choice of a hypothesis, so the grid over
`lm_scale` is also one over the acoustic scale.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import kaldialign
import numpy as np

from augmem.decoding.calibration import CalibrationItem, calibrate
from augmem.decoding.config import DecodingConfig
from augmem.decoding.edit_distance import edit_distances
from augmem.decoding.lattice import Floats
from augmem.decoding.oracle import nbest_oracle_errors
from augmem.decoding.records import FIRST_PASS, NEURAL, RESCORED, Hypothesis, NbestEntry, UtteranceKey, read_nbest
from augmem.decoding.systems import MBR, TUNED_FILE, Scales, System, choose_hypothesis
from augmem.errors import UserError
from augmem.files import write_json

logger = logging.getLogger(__name__)

References = Mapping[UtteranceKey, Sequence[str]]
MBR_LISTS = (NEURAL, RESCORED)  # `mbr` uses the scales of the first of these systems that exists
GRIDS = {"lm_scale": "lm_scales", "word_insertion_bonus": "word_insertion_bonuses"}


def tune(decode_dir: Path, dev_parts: Sequence[str], references: References, config: DecodingConfig) -> Path:
    """Choose the scales of each system on the pooled dev parts by grid search, and write tuned.json.

    Reads the n-best files of `dev_parts` only. Among equal word error rates the point nearest to (1, 0) is chosen.

    Args:
        decode_dir: output of `decode`.
        dev_parts: parts to tune on.
        references: words of the utterances of these parts.
        config: the grid.

    Returns:
        decode_dir/tuned.json: the scales of each system, their WER on dev, the oracle WER of the first-pass lists, and
        the WER of all points.

    Raises:
        FileNotFoundError: a part has not been decoded.
        UserError: no dev part, or no reference word.
    """
    if not dev_parts:
        raise UserError("no dev part to tune on: list one in corpus.dev of the recipe")
    entries = [entry for part in dev_parts for entry in read_nbest(decode_dir, part)]
    words = sum(len(references[entry.key]) for entry in entries)
    if words == 0:
        raise UserError(f"{decode_dir}: the transcripts of {', '.join(dev_parts)} have no word to tune on")
    systems = {name: tune_system(ScoreTable(entries, references, name), config) for name in entries[0].lists}
    if base := next((name for name in MBR_LISTS if name in systems), None):
        systems[MBR] = evaluate_mbr(entries, references, base, Scales.from_json(systems[base]))
    oracle = oracle_errors(entries, references) / words
    path = decode_dir / TUNED_FILE
    write_json(path, {"parts": list(dev_parts), "words": words, "oracle_wer": oracle, "systems": systems})
    return path


def oracle_errors(entries: Sequence[NbestEntry], references: References) -> int:
    """Count the word errors of the best hypotheses of the first-pass lists."""
    return sum(nbest_oracle_errors([h.words for h in e.lists[FIRST_PASS]], references[e.key]) for e in entries)


def oracle_wer(entries: Sequence[NbestEntry], references: References) -> float:
    """Compute the oracle WER of the first-pass lists."""
    return oracle_errors(entries, references) / max(1, sum(len(references[entry.key]) for entry in entries))


def tune_system(table: ScoreTable, config: DecodingConfig) -> dict[str, Any]:
    """Search the grid for one system; return its best point, its calibration and all points."""
    sweep = []
    for lm_scale, bonus in product(config.lm_scales, config.word_insertion_bonuses):
        wer = table.errors_at(Scales(lm_scale, bonus)) / table.words
        sweep.append({"lm_scale": lm_scale, "word_insertion_bonus": bonus, "wer": wer})
    best = min(sweep, key=lambda p: (p["wer"], abs(p["lm_scale"] - 1) + abs(p["word_insertion_bonus"])))
    logger.info(
        "%s: dev WER %.2f %% at LM scale %g and word insertion bonus %g",
        table.name, 100 * best["wer"], best["lm_scale"], best["word_insertion_bonus"],
    )  # fmt: skip
    warn_at_edge(table.name, "lm_scale", best["lm_scale"], config.lm_scales)
    warn_at_edge(table.name, "word_insertion_bonus", best["word_insertion_bonus"], config.word_insertion_bonuses)
    calibration = calibrate(calibration_items(table, Scales(best["lm_scale"], best["word_insertion_bonus"])))
    system = System(table.name, Scales.from_json({**best, **calibration}))
    return {**system.to_json(), **best, **calibration, "sweep": sweep}


def evaluate_mbr(entries: Sequence[NbestEntry], references: References, base: str, scales: Scales) -> dict[str, Any]:
    """Compute the dev WER of minimum Bayes risk with the scales of system `base`."""
    system = System(base, scales, minimum_risk=True)
    errors = words = 0
    for entry in entries:
        reference = list(references[entry.key])
        errors += kaldialign.edit_distance(reference, list(choose_hypothesis(entry, system).words))["total"]
        words += len(reference)
    logger.info(
        "%s: dev WER %.2f %% with the scales of %s, posterior scale %g", MBR, 100 * errors / words, base,
        scales.posterior_scale,
    )  # fmt: skip
    return {**system.to_json(), "wer": errors / words}


def calibration_items(table: ScoreTable, scales: Scales) -> Iterator[CalibrationItem]:
    """Yield the n-best lists that are not empty, with their scores and references."""
    for entry, scores in zip(table.entries, table.scores(scales), strict=True):
        if listed := entry.lists[table.name]:
            words = [hypothesis.words for hypothesis in listed]
            yield CalibrationItem(words, scores[: len(listed)], tuple(table.references[entry.key]))


def warn_at_edge(system: str, name: str, value: float, grid: Sequence[float]) -> None:
    """Warn if the best point is at the edge of the grid."""
    if len(grid) > 2 and value in (min(grid), max(grid)) and (name, value) != ("lm_scale", 0.0):
        logger.warning(
            "%s: the best %s, %g, is at the edge of its grid: widen decoding.%s",
            system,
            name,
            value,
            GRIDS[name],
        )


class ScoreTable:
    """The n-best lists of one system as matrices, so that each point of the grid takes one pass over them.

    Rows are utterances, columns hypotheses. Short lists are padded with hypotheses of score -inf. An empty list counts
    as one hypothesis without words.

    Args:
        entries: n-best lists.
        references: words of the utterances.
        name: name of the system and of its list.
    """

    def __init__(self, entries: Sequence[NbestEntry], references: References, name: str) -> None:
        self.entries, self.references, self.name = entries, references, name
        self.words = sum(len(references[entry.key]) for entry in entries)
        width = max((len(entry.lists[name]) for entry in entries), default=0) or 1
        self.am, self.lm, self.length, self.errors = (np.zeros((len(entries), width)) for _ in range(4))
        self.am[:, 1:] = -np.inf
        for row, entry in enumerate(entries):
            self.errors[row, 0] = len(references[entry.key])
            if entry.lists[name]:
                self.fill(row, entry.lists[name], references[entry.key])

    def fill(self, row: int, listed: Sequence[Hypothesis], reference: Sequence[str]) -> None:
        """Enter the hypotheses of one utterance and count their errors, once for the whole grid."""
        columns = slice(len(listed))
        self.am[row, columns] = [hypothesis.am for hypothesis in listed]
        self.lm[row, columns] = [hypothesis.lm for hypothesis in listed]
        self.length[row, columns] = [len(hypothesis.words) for hypothesis in listed]
        self.errors[row, columns] = edit_distances([hypothesis.words for hypothesis in listed], [reference])[:, 0]

    def scores(self, scales: Scales) -> Floats:
        """Compute the scores (utterances, hypotheses)."""
        return self.am + scales.lm_scale * self.lm + scales.word_insertion_bonus * self.length

    def errors_at(self, scales: Scales) -> int:
        """Count the word errors of the hypotheses with the highest scores."""
        best = self.scores(scales).argmax(axis=1)
        return int(self.errors[np.arange(len(best)), best].sum())

"""Scales chosen on dev, frozen to a file, applied to test.

These systems are tuned: `first_pass` weighs the decoding graph's score, `rescored` the larger language model's instead,
`neural`, where there is a neural model, the mean of both models':

    score(words) = am + lm_scale * lm + word_insertion_bonus * number of words

One more, `mbr`, turns the scores of the last of them into probabilities and takes the hypothesis with the least
expected word errors (minimum Bayes risk) in place of the most probable one. Only the ratio of acoustic to language
model scores counts for the choice, so sweeping `lm_scale` sweeps the acoustic scale.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import kaldialign
import numpy as np

from augmem.decoding.calibration import Judged, calibrate
from augmem.decoding.config import DecodingConfig
from augmem.decoding.lattice import Floats
from augmem.decoding.nbest import WordSequence
from augmem.decoding.posteriors import minimum_bayes_risk, posteriors, word_confidences
from augmem.decoding.records import FIRST_PASS, RESCORED, Hypothesis, NbestEntry, read_nbest
from augmem.files import read_json, write_json

logger = logging.getLogger(__name__)

MBR = "mbr"
TUNED_FILE = "tuned.json"
MOST_RISKS = 50  # hypotheses at most among which the risk is weighed; the work grows with their square
GRIDS = {"lm_scale": "lm_scales", "word_insertion_bonus": "word_insertion_bonuses"}


@dataclass(frozen=True)
class Scales:
    """Weights of one system.

    Args:
        lm_scale: weight of the language model score; the acoustic score has weight 1.
        word_insertion_bonus: score added for each word.
        posterior_scale: factor of the scores in the posterior probabilities of hypotheses, calibrated on dev.
    """

    lm_scale: float = 1.0
    word_insertion_bonus: float = 0.0
    posterior_scale: float = 0.1

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Scales:
        """Read scales from a JSON object with more fields, such as a system's in tuned.json.

        Raises:
            KeyError: a scale is missing.
        """
        # The last release wrote insertion_penalty.
        bonus = values["word_insertion_bonus"] if "word_insertion_bonus" in values else values["insertion_penalty"]
        return Scales(values["lm_scale"], bonus, values["posterior_scale"])

    def score(self, am: float, lm: float, words: int) -> float:
        """Combine the scores of one hypothesis."""
        return am + self.lm_scale * lm + self.word_insertion_bonus * words


def first_pass_score(sequence: WordSequence, scales: Scales, acoustic_scale: float) -> float:
    """Score a word sequence of a lattice, offline and in live recognition.

    Args:
        sequence: from `best_word_sequences`.
        acoustic_scale: of the search that made the lattice.
    """
    return scales.score((sequence.total - sequence.graph) / acoustic_scale, sequence.graph, len(sequence.words))


@dataclass(frozen=True)
class Answer:
    """A system's answer to one utterance.

    Args:
        id, speaker, reference: as in the utterance.
        words: what the system understood; empty if it heard no word, or found no path (logged, and in
            summary.json).
        times: begin and end of each word, seconds.
        confidences: probability that each word is right.
    """

    id: str
    speaker: str
    reference: tuple[str, ...]
    words: tuple[str, ...]
    times: tuple[tuple[float, float], ...] = ()
    confidences: tuple[float, ...] = ()


def tune(decode_dir: Path, dev_parts: Sequence[str], config: DecodingConfig, output: Path | None = None) -> Path:
    """Try the whole grid on the pooled dev parts and freeze the best point of each system.

    Only the n-best files of `dev_parts` are opened. Among equal word error rates the point nearest to
    (1, 0) wins.

    Args:
        decode_dir: where `decode` put its parts.
        output: file to write; decode_dir/tuned.json by default.
    Returns:
        the file: scales of each system, their dev WER, the WER of the best hypothesis in each list (the
        oracle), and the whole sweep.
    Raises:
        ValueError: no dev part is named, or none has a word.
    """
    if not dev_parts:
        raise ValueError("no dev part to tune on: name one in the recipe's corpus.dev")
    entries = [entry for part in dev_parts for entry in read_nbest(decode_dir / part)]
    words = sum(len(entry.utterance.reference) for entry in entries)
    if words == 0:
        raise ValueError(f"{decode_dir}: the transcripts of {', '.join(dev_parts)} hold no word to tune on")
    systems = {system: tuned(system, Table(entries, system), config) for system in entries[0].lists}
    if RESCORED in systems:
        systems[MBR] = risk_tuned(entries, words, systems[list(systems)[-1]])
    oracle = Table(entries, FIRST_PASS).oracle_errors() / words
    result = {"parts": list(dev_parts), "words": words, "oracle_wer": oracle, "systems": systems}
    path = output or decode_dir / TUNED_FILE
    write_json(path, result)
    return path


def tuned(system: str, table: Table, config: DecodingConfig) -> dict[str, Any]:
    """Sweep the grid for one system; its best point and all points."""
    sweep = []
    for lm_scale, penalty in product(config.lm_scales, config.word_insertion_bonuses):
        scales = Scales(lm_scale, penalty)
        wer = table.errors_at(scales) / table.words
        sweep.append({"lm_scale": lm_scale, "word_insertion_bonus": penalty, "wer": wer})
    best = min(sweep, key=lambda p: (p["wer"], abs(p["lm_scale"] - 1) + abs(p["word_insertion_bonus"])))
    logger.info(
        "%s: dev WER %.2f %% at LM scale %g, insertion penalty %g",
        system,
        100 * best["wer"],
        *list(best.values())[:2],
    )
    warn_at_edge(system, "lm_scale", best["lm_scale"], config.lm_scales)
    warn_at_edge(system, "word_insertion_bonus", best["word_insertion_bonus"], config.word_insertion_bonuses)
    calibrated = calibrate(judged(table, Scales(best["lm_scale"], best["word_insertion_bonus"])))
    return {**best, **calibrated, "sweep": sweep}


def risk_tuned(entries: Sequence[NbestEntry], words: int, base: Mapping[str, Any]) -> dict[str, Any]:
    """The system `mbr`: scales and probabilities of the last tuned one, and the WER they lead to."""
    scales = Scales(base["lm_scale"], base["word_insertion_bonus"], base["posterior_scale"])
    errors = 0
    for entry in entries:
        answer = answered(entry, MBR, scales)
        errors += kaldialign.edit_distance(list(answer.reference), list(answer.words))["total"]
    logger.info(
        "%s: dev WER %.2f %% at the same scales, posterior scale %g", MBR, 100 * errors / words, scales.posterior_scale
    )
    return {**vars(scales), "wer": errors / words}


def judged(table: Table, scales: Scales) -> Iterator[Judged]:
    """Each utterance's list as `calibrate` wants it."""
    for entry, scores in zip(table.entries, table.scores(scales), strict=True):
        if listed := entry.lists[table.system]:
            yield Judged([hypothesis.words for hypothesis in listed], scores[: len(listed)], entry.utterance.reference)


def warn_at_edge(system: str, name: str, value: float, grid: Sequence[float]) -> None:
    """A best point at the rim of the grid may not be the best."""
    if len(grid) > 2 and value in (min(grid), max(grid)) and (name, value) != ("lm_scale", 0.0):
        logger.warning(
            "%s: the best %s, %g, is at the edge of its grid: widen decoding.%s",
            system,
            name,
            value,
            GRIDS[name],
        )


class Table:
    """One system's n-best lists as matrices, so that a point of the grid costs one pass over them.

    Rows are utterances, columns hypotheses; short lists are padded with hypotheses that never win. An empty
    list counts as one hypothesis without words.
    """

    def __init__(self, entries: Sequence[NbestEntry], system: str) -> None:
        self.entries, self.system = entries, system
        self.words = sum(len(e.utterance.reference) for e in entries)
        width = max((len(e.lists[system]) for e in entries), default=0) or 1
        self.am, self.lm, self.length, self.errors = (np.zeros((len(entries), width)) for _ in range(4))
        self.am[:, 1:] = -np.inf
        for row, entry in enumerate(entries):
            self.errors[row, 0] = len(entry.utterance.reference)
            for column, hypothesis in enumerate(entry.lists[system]):
                self.fill(row, column, hypothesis, entry.utterance.reference)

    def fill(self, row: int, column: int, hypothesis: Hypothesis, reference: tuple[str, ...]) -> None:
        """Enter one hypothesis; its errors are counted here, once for the whole grid."""
        self.am[row, column] = hypothesis.am
        self.lm[row, column] = hypothesis.lm
        self.length[row, column] = len(hypothesis.words)
        self.errors[row, column] = kaldialign.edit_distance(list(reference), list(hypothesis.words))["total"]

    def scores(self, scales: Scales) -> Floats:
        """(utterances, hypotheses) what hypotheses are ranked by."""
        return self.am + scales.lm_scale * self.lm + scales.word_insertion_bonus * self.length

    def errors_at(self, scales: Scales) -> int:
        """Word errors of the hypotheses that win."""
        winners = self.scores(scales).argmax(axis=1)
        return int(self.errors[np.arange(len(winners)), winners].sum())

    def oracle_errors(self) -> int:
        """Word errors if the best hypothesis of each list always won."""
        return int(np.where(np.isinf(self.am), np.inf, self.errors).min(axis=1).sum())


def load_scales(tuned_file: Path) -> dict[str, Scales]:
    """System -> scales, as `tune` froze them.

    Raises:
        FileNotFoundError: nothing was tuned yet.
    """
    if not tuned_file.exists():
        raise FileNotFoundError(f"{tuned_file}: the scales have not been tuned; run the decode stage")
    systems = read_json(tuned_file)["systems"]
    return {name: Scales.from_json(values) for name, values in systems.items()}


def hypotheses(decode_dir: Path, part: str, system: str, scales: Scales) -> list[Answer]:
    """The answers of one system to every utterance of a part."""
    return [answered(entry, system, scales) for entry in read_nbest(decode_dir / part)]


def answered(entry: NbestEntry, system: str, scales: Scales) -> Answer:
    """One system's answer to one utterance; what was said plays no part in it."""
    about = (entry.utterance.id, entry.utterance.speaker, entry.utterance.reference)
    listed = list(entry.lists.values())[-1] if system == MBR else entry.lists[system]
    if not listed:
        return Answer(*about, ())
    scores = np.array([scales.score(h.am, h.lm, len(h.words)) for h in listed])
    ranked = np.argsort(-scores, kind="stable")[:MOST_RISKS]
    words = [listed[n].words for n in ranked]
    probabilities = posteriors(scores[ranked], scales.posterior_scale)
    place = minimum_bayes_risk(words, probabilities) if system == MBR else 0
    sure = word_confidences(words[place], words, probabilities)
    return Answer(*about, words[place], listed[ranked[place]].times, tuple(sure))

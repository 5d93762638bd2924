"""Calibration of word confidences: of the words with confidence 0.8, 80 % should be correct.

Substitutions and insertions are wrong words; deletions do not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import kaldialign
import numpy as np

from augmem.decoding.lattice import Floats
from augmem.decoding.lattice_posteriors import NO_WORD, Words, clip_confidences, matches, posteriors

POSTERIOR_SCALES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)
MARGIN = 1e-6  # limits the cross entropy of a wrong word with confidence 1


@dataclass(frozen=True)
class Bin:
    """One point of a reliability diagram.

    Args:
        confidence: mean confidence of its words.
        accuracy: share of its words that are correct.
        words: number of words.
    """

    confidence: float
    accuracy: float
    words: int


def correct_words(hypothesis: Words, reference: Words) -> list[bool]:
    """Return for each word of the hypothesis whether it is aligned with an equal word."""
    pairs = kaldialign.align(list(reference), list(hypothesis), NO_WORD)
    return [left == right for left, right in pairs if right != NO_WORD]


def normalised_cross_entropy(confidences: Sequence[float], correct: Sequence[bool]) -> float:
    """Compute NIST's normalised cross entropy.

    1 is perfect, 0 as good as the mean accuracy for every word, below 0 worse than that.

    Raises:
        ValueError: undefined, because all words are correct, or none, or there are no words.

    Example:
        >>> normalised_cross_entropy([0.5, 0.5], [True, False])
        0.0
    """
    truth, clipped = np.asarray(correct, dtype=float), np.clip(confidences, MARGIN, 1 - MARGIN)
    if len(truth) == 0 or truth.min() == truth.max():
        raise ValueError("normalised cross entropy needs correct and wrong words")
    baseline = cross_entropy(truth, np.full(len(truth), truth.mean()))
    return 1 - cross_entropy(truth, clipped) / baseline


def cross_entropy(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Compute the binary cross entropy in bits, summed over words."""
    return float(-(truth * np.log2(probabilities) + (1 - truth) * np.log2(1 - probabilities)).sum())


def reliability(confidences: Sequence[float], correct: Sequence[bool], bins: int = 10) -> list[Bin]:
    """Divide words into bins of equal width in confidence; empty bins are left out.

    Args:
        confidences: confidence of each word, in [0, 1].
        correct: whether each word is correct.
        bins: number of bins.
    """
    values, truth = np.asarray(confidences), np.asarray(correct, dtype=float)
    place = np.minimum((values * bins).astype(int), bins - 1)
    members = [np.flatnonzero(place == b) for b in range(bins)]
    return [Bin(float(values[m].mean()), float(truth[m].mean()), len(m)) for m in members if len(m)]


def best_posterior_scale(
    confidences_at: Callable[[float], tuple[Sequence[float], Sequence[bool]]], scales: Sequence[float]
) -> tuple[float, dict[float, float]]:
    """Return the posterior scale with the highest normalised cross entropy, and the value of every scale.

    Args:
        confidences_at: returns (confidences, correct) of all words at a scale. An undefined value counts as -inf.
    """
    table: dict[float, float] = {}
    for scale in scales:
        try:
            table[scale] = normalised_cross_entropy(*confidences_at(scale))
        except ValueError:
            table[scale] = -math.inf
    return max(table, key=lambda scale: table[scale]), table


class CalibrationItem(NamedTuple):
    """Hypotheses of a dev utterance, their scores (N,), and the reference."""

    hypotheses: Sequence[Words]
    scores: Floats
    reference: Words


def calibrate(items: Iterable[CalibrationItem], scales: Sequence[float] = POSTERIOR_SCALES) -> dict[str, Any]:
    """Choose the posterior scale with the highest normalised cross entropy, with its value and reliability diagram.

    If dev has no wrong word, or no correct one, the smallest scale is returned without figures.
    """
    utterances = list(items)
    best = [item.hypotheses[int(item.scores.argmax())] for item in utterances]
    correct = [
        flag for item, words in zip(utterances, best, strict=True) for flag in correct_words(words, item.reference)
    ]
    agreement = [
        np.array([matches(words, other) for other in item.hypotheses])
        for item, words in zip(utterances, best, strict=True)
    ]

    def confidences_at(scale: float) -> tuple[list[float], list[bool]]:
        rows = [posteriors(item.scores, scale) @ table for item, table in zip(utterances, agreement, strict=True)]
        return [float(value) for row in rows for value in clip_confidences(row)], correct

    scale, table = best_posterior_scale(confidences_at, scales)
    if not math.isfinite(table[scale]):
        return {"posterior_scale": min(scales), "nce": None, "reliability": []}
    diagram = [asdict(point) for point in reliability(*confidences_at(scale))]
    return {"posterior_scale": scale, "nce": table[scale], "reliability": diagram}

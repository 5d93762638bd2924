"""Are confidences honest? Of the words given 0.8, eight in ten should be right.

Fed with (confidence, right) pairs, one for each word of the answers; insertions and substitutions are
wrong, words that were missed do not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import kaldialign
import numpy as np

from augmem.decoding.lattice import Floats
from augmem.decoding.posteriors import NO_WORD, Words, doubted, matches, posteriors

POSTERIOR_SCALES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)
CLOSEST = 1e-6  # to 0 and 1: a certain word that is wrong must cost much, not infinitely much


@dataclass(frozen=True)
class Bin:
    """One point of the reliability plot.

    Args:
        confidence: mean confidence of its words.
        accuracy: share of them that is right.
        words: how many there are.
    """

    confidence: float
    accuracy: float
    words: int


def words_right(answer: Words, reference: Words) -> list[bool]:
    """For each word of the answer, whether it stands opposite the same word in the best alignment."""
    pairs = kaldialign.align(list(reference), list(answer), NO_WORD)
    return [left == right for left, right in pairs if right != NO_WORD]


def normalised_cross_entropy(confidences: Sequence[float], right: Sequence[bool]) -> float:
    """NIST's measure: 1 perfect, 0 as good as saying the mean accuracy of every word, negative worse than
    that.

    Raises:
        ValueError: no words, or all of them right or all wrong: the measure is not defined.
    """
    truth, told = np.asarray(right, dtype=float), np.clip(confidences, CLOSEST, 1 - CLOSEST)
    if len(truth) == 0 or truth.min() == truth.max():
        raise ValueError("normalised cross entropy needs words that are right and words that are wrong")
    baseline = entropy(truth, np.full(len(truth), truth.mean()))
    return 1 - entropy(truth, told) / baseline


def entropy(truth: np.ndarray, told: np.ndarray) -> float:
    """Bits it costs to learn the truth when one was told these probabilities."""
    return float(-(truth * np.log2(told) + (1 - truth) * np.log2(1 - told)).sum())


def reliability(confidences: Sequence[float], right: Sequence[bool], bins: int = 10) -> list[Bin]:
    """Equally wide bins of confidence, the empty ones left out."""
    told, truth = np.asarray(confidences), np.asarray(right, dtype=float)
    place = np.minimum((told * bins).astype(int), bins - 1)
    members = [np.flatnonzero(place == b) for b in range(bins)]
    return [Bin(float(told[m].mean()), float(truth[m].mean()), len(m)) for m in members if len(m)]


def best_posterior_scale(
    confidences_at: Callable[[float], tuple[Sequence[float], Sequence[bool]]], scales: Sequence[float]
) -> tuple[float, dict[float, float]]:
    """The posterior scale with the highest normalised cross entropy on dev, and that of every scale.

    Args:
        confidences_at: all words' (confidences, right) at a scale. Where the measure is not defined it
            counts as -inf.
    """
    table: dict[float, float] = {}
    for scale in scales:
        try:
            table[scale] = normalised_cross_entropy(*confidences_at(scale))
        except ValueError:
            table[scale] = -math.inf
    return max(table, key=lambda scale: table[scale]), table


class Judged(NamedTuple):
    """An utterance of dev: its hypotheses, their scores (N,) and what was really said."""

    hypotheses: Sequence[Words]
    scores: Floats
    reference: Words


def calibrate(utterances: Iterable[Judged], scales: Sequence[float] = POSTERIOR_SCALES) -> dict[str, Any]:
    """The posterior scale with the most honest confidences, its normalised cross entropy, and the reliability plot.

    Where dev has no word that is wrong (or right) nothing can be told: the flattest scale is taken, without figures.
    """
    judged = list(utterances)
    answers = [item.hypotheses[int(item.scores.argmax())] for item in judged]
    right = [flag for item, answer in zip(judged, answers, strict=True) for flag in words_right(answer, item.reference)]
    agreeing = [
        np.array([matches(answer, words) for words in item.hypotheses])
        for item, answer in zip(judged, answers, strict=True)
    ]

    def confidences_at(scale: float) -> tuple[list[float], list[bool]]:
        sure = [posteriors(item.scores, scale) @ table for item, table in zip(judged, agreeing, strict=True)]
        return [float(value) for row in sure for value in doubted(row)], right

    scale, table = best_posterior_scale(confidences_at, scales)
    if not math.isfinite(table[scale]):
        return {"posterior_scale": min(scales), "nce": None, "reliability": []}
    plot = [asdict(point) for point in reliability(*confidences_at(scale))]
    return {"posterior_scale": scale, "nce": table[scale], "reliability": plot}

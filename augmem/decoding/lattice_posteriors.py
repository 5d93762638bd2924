"""Posterior probabilities of hypotheses and words: minimum Bayes risk and confidences.

Acoustic models treat adjacent frames as independent, so their scores are overconfident. A scale below 1, calibrated on
dev (`calibration.py`), flattens the posterior probabilities.

Letters: N hypotheses.
"""

from __future__ import annotations

from collections.abc import Sequence

import kaldialign
import numpy as np

from augmem.decoding.edit_distance import edit_distances
from augmem.decoding.lattice import Floats

Words = tuple[str, ...]

# A list does not have the words that the search pruned, so no word is certain. Of 0.005 to 0.08, 0.05 gave the highest
# normalised cross entropy on the dev parts of Amazon Queen (0.24; 0.04 without).
MIN_ERROR_PROBABILITY = 0.05
NO_WORD = "*"  # kaldialign's mark for insertions and deletions; words have no asterisks


def posteriors(scores: Floats, scale: float = 1.0) -> Floats:
    """Compute probabilities (N,) proportional to exp(scale * score)."""
    weights = np.exp(scale * (scores - scores.max()))
    return weights / weights.sum()


def expected_errors(hypotheses: Sequence[Words], probabilities: Floats) -> Floats:
    """Compute the expected word errors (N,) of each hypothesis, if the reference is drawn from the list."""
    return edit_distances(hypotheses, hypotheses) @ probabilities


def minimum_bayes_risk(hypotheses: Sequence[Words], probabilities: Floats) -> int:
    """Return the index of the hypothesis with the fewest expected word errors; among equals the most probable.

    Raises:
        ValueError: the list is empty.

    Example:
        >>> hypotheses = [("A", "B"), ("A", "C"), ("A", "C", "D")]
        >>> minimum_bayes_risk(hypotheses, np.array([0.4, 0.3, 0.3]))
        1
    """
    if not hypotheses:
        raise ValueError("the list has no hypothesis")
    risks = expected_errors(hypotheses, probabilities)
    return min(range(len(hypotheses)), key=lambda n: (round(float(risks[n]), 12), -probabilities[n]))


def word_confidences(words: Words, hypotheses: Sequence[Words], probabilities: Floats) -> list[float]:
    """Compute the confidence of each word: the probability of hypotheses with an equal word in the alignment.

    Args:
        words: words of the hypothesis.
        hypotheses: words of all hypotheses.
        probabilities: probability of each hypothesis; they sum to 1.

    Example:
        >>> word_confidences(("A", "B"), [("A", "B"), ("A", "C")], np.array([0.75, 0.25]))
        [0.95, 0.75]
    """
    confidences = np.zeros(len(words))
    for other, probability in zip(hypotheses, probabilities, strict=True):
        confidences += probability * matches(words, other)
    return [float(value) for value in clip_confidences(confidences)]


def clip_confidences(confidences: Floats) -> Floats:
    """Limit confidences to leave probability for words outside the list."""
    return np.clip(confidences, MIN_ERROR_PROBABILITY, 1 - MIN_ERROR_PROBABILITY)


def matches(words: Words, other: Words) -> Floats:
    """Return (len(words),): 1 where the other sequence has an equal word in the alignment, else 0."""
    pairs = kaldialign.align(list(words), list(other), NO_WORD)
    return np.array([float(left == right) for left, right in pairs if left != NO_WORD])

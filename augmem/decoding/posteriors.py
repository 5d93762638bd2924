"""What an n-best list, or a lattice, says about each word: minimum-Bayes-risk answers and confidences.

N hypotheses, each with a probability. Scores become probabilities through `scale`: at 1 acoustic models are
far too sure of themselves, because they treat neighbouring frames as independent; it is tuned on dev
(`calibration.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import kaldialign
import numpy as np

from augmem.decoding.lattice import Floats, Ints, Lattice, arc_posteriors

Words = tuple[str, ...]

# A list knows nothing of what the search never found, so that no word on it is certain. Of 0.005 to 0.08, 0.05 gave the
# highest normalised cross entropy on Amazon Queen's dev parts (0.24; 0.04 without).
LEAST_DOUBT = 0.05
REACH = 4  # frames by which the same word may begin earlier or later on another path
NO_WORD = "*"  # what kaldialign puts opposite an insertion or deletion; words have no asterisks


def posteriors(scores: Floats, scale: float = 1.0) -> Floats:
    """(N,) probabilities proportional to exp(scale * score)."""
    weights = np.exp(scale * (scores - scores.max()))
    return weights / weights.sum()


def expected_errors(hypotheses: Sequence[Words], probabilities: Floats) -> Floats:
    """(N,) word errors each hypothesis would have on average, if the truth were drawn from the list."""
    ids = as_numbers(hypotheses)
    distances = np.zeros((len(ids), len(ids)))
    for i, left in enumerate(ids):
        for j in range(i):
            distances[i, j] = distances[j, i] = kaldialign.edit_distance(left, ids[j])["total"]
    return distances @ probabilities


def as_numbers(hypotheses: Sequence[Words]) -> list[list[int]]:
    """Words as numbers, which compare faster."""
    numbers: dict[str, int] = {}
    return [[numbers.setdefault(word, len(numbers)) for word in words] for words in hypotheses]


def minimum_bayes_risk(hypotheses: Sequence[Words], probabilities: Floats) -> int:
    """Index of the hypothesis with the least expected word errors; among equals the most probable.

    Raises:
        ValueError: the list is empty.
    """
    if not hypotheses:
        raise ValueError("no hypothesis to choose from")
    risks = expected_errors(hypotheses, probabilities)
    return min(range(len(hypotheses)), key=lambda n: (round(float(risks[n]), 12), -probabilities[n]))


def word_confidences(answer: Words, hypotheses: Sequence[Words], probabilities: Floats) -> list[float]:
    """For each word of the answer, the probability of the hypotheses that have it in that place.

    "In that place" means opposite it in the alignment with fewest errors.
    """
    confidences = np.zeros(len(answer))
    for words, probability in zip(hypotheses, probabilities, strict=True):
        confidences += probability * matches(answer, words)
    return [float(value) for value in doubted(confidences)]


def confidences_in_place(lattice: Lattice, path: Ints, scale: float) -> list[float]:
    """For each word of a path, the probability of the paths that emit it within `REACH` frames of there.

    Cheaper than a list of hypotheses, for results that will not stand for long.
    """
    probability = arc_posteriors(lattice, scale)
    emitting = np.flatnonzero(lattice.words[:, 0])
    found = np.array([
        probability[near][(lattice.words[near] == word).any(axis=1)].sum()
        for arc in path[lattice.words[path, 0] > 0]
        for near in [emitting[np.abs(lattice.frame[emitting] - lattice.frame[arc]) <= REACH]]
        for word in lattice.words[arc][lattice.words[arc] > 0]
    ])  # fmt: skip
    return [float(value) for value in doubted(found)]


def doubted(confidences: Floats) -> Floats:
    """Probabilities with room for what no hypothesis says."""
    return np.clip(confidences, LEAST_DOUBT, 1 - LEAST_DOUBT)


def matches(answer: Words, other: Words) -> Floats:
    """(len(answer),) 1 where the other sequence has the same word, else 0."""
    pairs = kaldialign.align(list(answer), list(other), NO_WORD)
    return np.array([float(left == right) for left, right in pairs if left != NO_WORD])

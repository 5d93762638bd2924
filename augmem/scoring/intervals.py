"""Bootstrap confidence intervals of error rates.

The test set is resampled with replacement 10,000 times. The interval is the middle 95 % of the error rates (Bisani and
Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004).

Resampling single utterances treats them as independent. Utterances of one session (a chapter or a recording) are not;
resampling whole sessions gives a wider interval that also covers the choice of sessions.

kaldialign's `bootstrap_wer_ci` resamples utterances with a normal approximation; the tests compare both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from augmem.scoring.alignment import Utterance

ResamplingUnit = Literal["utterance", "session"]
REPLICATIONS = 10_000
BLOCK = 2_000_000  # random numbers drawn at once; limits memory to some 10 MB


class Interval(NamedTuple):
    """A 95 % confidence interval of an error rate (0.25 is 25 %)."""

    low: float
    high: float


def bootstrap_rates(
    errors: Sequence[Sequence[int]], words: Sequence[int], replications: int, seed: int = 0
) -> NDArray[np.float64]:
    """Compute error rates of resampled test sets. All systems share the draws, so that differences are paired.

    Args:
        errors: errors[system][unit]; a unit is what is resampled, an utterance or a session.
        words: words[unit], length of the reference.
        replications: number of resampled test sets.
        seed: seed of the random number generator.

    Returns:
        (systems, replications); NaN where a draw has no reference word.
    """
    counts = np.vstack([np.asarray(errors, dtype=np.float64), np.asarray(words, dtype=np.float64)])
    sums = np.concatenate([counts @ draw for draw in _draws(counts.shape[1], replications, seed)], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sums[-1] > 0, sums[:-1] / sums[-1], math.nan)


def _draws(units: int, replications: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each unit is drawn in each replication, in blocks of shape (units, block)."""
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK // units)
    for start in range(0, replications, block):
        size = min(block, replications - start)
        drawn = rng.integers(units, size=(size, units)) + units * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units).T.astype(np.float64)


def percentile_interval(values: NDArray[np.float64]) -> Interval:
    """Return the middle 95 % of `values` without NaN; (NaN, NaN) if there are no others."""
    finite = values[~np.isnan(values)]
    if not finite.size:
        return Interval(math.nan, math.nan)
    low, high = np.percentile(finite, [2.5, 97.5])
    return Interval(float(low), float(high))


def resampling_units(utterances: Sequence[Utterance], unit: ResamplingUnit) -> list[list[int]]:
    """Return the positions of the utterances of each resampling unit."""
    if unit == "utterance":
        return [[position] for position in range(len(utterances))]
    sessions: dict[str, list[int]] = {}
    for position, utterance in enumerate(utterances):
        sessions.setdefault(utterance.session, []).append(position)
    return list(sessions.values())


def wer_interval(
    utterances: Sequence[Utterance],
    unit: ResamplingUnit = "utterance",
    replications: int = REPLICATIONS,
    seed: int = 0,
) -> Interval:
    """Compute the 95 % bootstrap interval of the WER of one or more utterances.

    Args:
        utterances: at least one utterance.
        unit: resample utterances or whole sessions.
        replications: number of resampled test sets.
        seed: seed of the random number generator.

    Example:
        >>> right = Utterance("u1", "JOE", ["HELLO", "THERE"], ["HELLO", "THERE"])
        >>> wrong = Utterance("u2", "JOE", ["GOOD", "DAY"], ["GOOD"])
        >>> wer_interval([right, wrong])
        Interval(low=0.0, high=0.5)
    """
    units = resampling_units(utterances, unit)
    errors = [sum(utterances[i].counts.errors for i in members) for members in units]
    words = [sum(utterances[i].counts.words for i in members) for members in units]
    return percentile_interval(bootstrap_rates([errors], words, replications, seed)[0])

"""How sure a WER is: bootstrap confidence intervals.

The test set is drawn again, with replacement, thousands of times; the middle 95 % of the WERs so found are
the interval (Bisani and Ney, ICASSP 2004). kaldialign's `bootstrap_wer_ci` does this with a normal
approximation, symmetric about the mean, drawing single utterances. Here it is numpy, because percentiles stay
right near 0 %, and because the utterances of one speaker resemble each other, so that drawing whole speakers
is the honest choice when the claim is about new speakers. The tests hold both against each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from augmem.scoring.alignment import Utterance

Resample = Literal["utterance", "speaker"]
BLOCK = 2_000_000  # random numbers drawn at once: bounds memory to a few tens of MB


class Interval(NamedTuple):
    """A 95 % confidence interval, as error rates (0.25 is 25 %)."""

    low: float
    high: float


def bootstrap_rates(
    errors: Sequence[Sequence[int]], words: Sequence[int], replications: int, seed: int
) -> NDArray[np.float64]:
    """Error rates of resampled test sets; one draw serves all systems, so their differences are paired.

    Args:
        errors: errors[system][unit], a unit being an utterance or a speaker
        words: words[unit], length of the reference
        replications: number of resampled test sets
        seed: of the random draw; the same seed gives the same rates

    Returns:
        (systems, replications); NaN where a draw happened to hold no reference word.
    """
    counts = np.vstack([np.asarray(errors, dtype=np.float64), np.asarray(words, dtype=np.float64)])
    sums = np.concatenate([counts @ draw for draw in _draws(counts.shape[1], replications, seed)], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sums[-1] > 0, sums[:-1] / sums[-1], math.nan)


def _draws(units: int, replications: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each unit is drawn in each replication, block by block: (units, block)."""
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK // units)
    for start in range(0, replications, block):
        size = min(block, replications - start)
        drawn = rng.integers(units, size=(size, units)) + units * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units).T.astype(np.float64)


def percentile_interval(values: NDArray[np.float64]) -> Interval:
    """The middle 95 % of `values`, NaN left out; (NaN, NaN) when nothing else is there."""
    known = values[~np.isnan(values)]
    if not known.size:
        return Interval(math.nan, math.nan)
    low, high = np.percentile(known, [2.5, 97.5])
    return Interval(float(low), float(high))


def resampling_units(utterances: Sequence[Utterance], resample: Resample) -> list[list[int]]:
    """Positions of the utterances that are drawn together: each alone, or all of one speaker."""
    if resample == "utterance":
        return [[position] for position in range(len(utterances))]
    speakers: dict[str, list[int]] = {}
    for position, utterance in enumerate(utterances):
        speakers.setdefault(utterance.speaker, []).append(position)
    return list(speakers.values())


def wer_interval(
    utterances: Sequence[Utterance],
    replications: int = 10_000,
    seed: int = 0,
    resample: Resample = "utterance",
) -> Interval:
    """95 % bootstrap interval of the error rate of `utterances` (at least one)."""
    units = resampling_units(utterances, resample)
    errors = [sum(utterances[i].counts.errors for i in unit) for unit in units]
    words = [sum(utterances[i].counts.words for i in unit) for unit in units]
    return percentile_interval(bootstrap_rates([errors], words, replications, seed)[0])

"""Paired significance tests of two systems on the same utterances.

The *paired bootstrap* (Bisani and Ney, ICASSP 2004) resamples utterances, the same ones for both systems, and counts
how often the difference changes sign. The *matched-pairs test* (Gillick and Cox, ICASSP 1989; MAPSSWE in sclite) splits
utterances into segments at two words that both systems recognise correctly, so that a long utterance counts as several
trials. A difference is called significant only if both tests reject equality.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from augmem.errors import UserError
from augmem.scoring.alignment import Utterance, WordPair, total
from augmem.scoring.intervals import REPLICATIONS, Interval, bootstrap_rates, percentile_interval
from augmem.scoring.tables import percent, text_table

BUFFER = 2  # consecutive words, correct in both systems, that end a segment


@dataclass(frozen=True)
class PairedBootstrap:
    """The difference WER(B) - WER(A) over resampled test sets.

    Args:
        interval: 95 % interval of the difference.
        improvement: share of test sets on which B is better; ties count half.
        p_value: two-sided p-value under the hypothesis of equal systems.
    """

    interval: Interval
    improvement: float
    p_value: float


@dataclass(frozen=True)
class MatchedPairs:
    """Matched-pairs sentence-segment word-error test.

    Args:
        segments: number of segments with an error of at least one system.
        mean: errors of B minus errors of A per segment.
        z: `mean` divided by its standard error; NaN if undefined.
        p_value: two-sided p-value by the normal approximation, which needs about 50 segments.
    """

    segments: int
    mean: float
    z: float
    p_value: float


@dataclass(frozen=True)
class Difference:
    """One utterance with the hypotheses of both systems."""

    a: Utterance
    b: Utterance

    @property
    def errors(self) -> int:
        """Errors of B minus errors of A; negative if B is better."""
        return self.b.counts.errors - self.a.counts.errors


@dataclass(frozen=True)
class Comparison:
    """Two systems side by side.

    Args:
        name_a: name of system A.
        name_b: name of system B.
        wer_a: word error rate of A.
        wer_b: word error rate of B.
        bootstrap: paired bootstrap of WER(B) - WER(A).
        matched_pairs: matched-pairs test.
        differences: utterances with different error counts, largest difference first.
        same: number of utterances with equal error counts.
    """

    name_a: str
    name_b: str
    wer_a: float
    wer_b: float
    bootstrap: PairedBootstrap
    matched_pairs: MatchedPairs
    differences: list[Difference]
    same: int

    @property
    def significant(self) -> bool:
        """Whether both tests reject equality at the 5 % level."""
        return max(self.bootstrap.p_value, self.matched_pairs.p_value) < 0.05


def compare(
    a: Sequence[Utterance],
    b: Sequence[Utterance],
    name_a: str = "A",
    name_b: str = "B",
    replications: int = REPLICATIONS,
) -> Comparison:
    """Compare two systems on the same utterances.

    Args:
        a, b: utterances of systems A and B, with the same ids and references.
        name_a, name_b: names of the systems.
        replications: number of resampled test sets.

    Raises:
        UserError: utterances or references of the two systems differ.

    Example:
        >>> from augmem.scoring import Utterance
        >>> a = [Utterance("u1", "JOE", ["HELLO", "THERE"], ["HELLO"])]
        >>> b = [Utterance("u1", "JOE", ["HELLO", "THERE"], ["HELLO", "THERE"])]
        >>> comparison = compare(a, b)
        >>> comparison.wer_a, comparison.wer_b, comparison.significant
        (0.5, 0.0, False)
    """
    pairs = _pair(a, b, name_a, name_b)
    differences = [Difference(*pair) for pair in pairs]
    unequal = [difference for difference in differences if difference.errors]
    return Comparison(
        name_a=name_a,
        name_b=name_b,
        wer_a=total(one.counts for one, _ in pairs).rate,
        wer_b=total(two.counts for _, two in pairs).rate,
        bootstrap=paired_bootstrap(pairs, replications),
        matched_pairs=matched_pairs(pairs),
        differences=sorted(unequal, key=lambda difference: (-abs(difference.errors), difference.a.id)),
        same=len(differences) - len(unequal),
    )


def _pair(
    a: Sequence[Utterance], b: Sequence[Utterance], name_a: str, name_b: str
) -> list[tuple[Utterance, Utterance]]:
    """Pair the utterances of both systems, sorted by id."""
    others = {utterance.id: utterance for utterance in b}
    unpaired = {utterance.id for utterance in a} ^ set(others)
    if unpaired or not a or len(a) != len(b):
        examples = ", ".join(sorted(unpaired)[:3]) or "a duplicate id, or no utterance"
        raise UserError(
            f"{name_a} has {len(a)} utterances, {name_b} has {len(b)}, and they differ ({examples}); compare two "
            "decodings of one part"
        )
    for utterance in a:
        if list(utterance.ref) != list(others[utterance.id].ref):
            raise UserError(
                f"utterance {utterance.id}: the reference is {' '.join(utterance.ref)!r} in {name_a} but "
                f"{' '.join(others[utterance.id].ref)!r} in {name_b}; normalise both in the same way"
            )
    return [(utterance, others[utterance.id]) for utterance in sorted(a, key=lambda utterance: utterance.id)]


def paired_bootstrap(pairs: Sequence[tuple[Utterance, Utterance]], replications: int) -> PairedBootstrap:
    """Resample the same utterances for both systems."""
    errors = [[pair[side].counts.errors for pair in pairs] for side in (0, 1)]
    rate_a, rate_b = bootstrap_rates(errors, [a.counts.words for a, _ in pairs], replications)
    difference = rate_b - rate_a
    better, worse = float((difference < 0).mean()), float((difference > 0).mean())
    ties = 1 - better - worse
    return PairedBootstrap(
        interval=percentile_interval(difference),
        improvement=better + ties / 2,
        p_value=min(1.0, 2 * (min(better, worse) + ties)),
    )


def matched_pairs(pairs: Sequence[tuple[Utterance, Utterance]]) -> MatchedPairs:
    """Test whether the mean difference of errors per segment is zero."""
    segments = [segment for a, b in pairs for segment in _segments(a.steps, b.steps)]
    differences = [errors_b - errors_a for errors_a, errors_b in segments]
    n = len(differences)
    mean = sum(differences) / n if n else 0.0
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1) if n > 1 else 0.0
    if variance > 0:
        z = mean / math.sqrt(variance / n)
        return MatchedPairs(n, mean, z, math.erfc(abs(z) / math.sqrt(2)))
    # All differences are equal, so no variance can be estimated: use the sign test.
    return MatchedPairs(n, mean, math.nan, min(1.0, 2 * 0.5**n) if mean else 1.0)


def _segments(a: Sequence[WordPair], b: Sequence[WordPair]) -> Iterator[tuple[int, int]]:
    """Yield the errors of A and B in each segment with errors; `BUFFER` words correct in both end a segment."""
    errors, good = [0, 0], 0
    for slot, (in_a, in_b) in enumerate(zip(_slots(a), _slots(b), strict=True)):
        errors = [errors[0] + in_a, errors[1] + in_b]
        is_word = slot % 2 == 1
        good = 0 if in_a or in_b else good + is_word
        if good == BUFFER and any(errors):
            yield errors[0], errors[1]
            errors = [0, 0]
    if any(errors):
        yield errors[0], errors[1]


def _slots(steps: Sequence[WordPair]) -> list[int]:
    """Count errors at each place of the reference: before word 0, at word 0, before word 1, ..., after the last."""
    slots = [0]
    for step in steps:
        if step.kind == "ins":
            slots[-1] += 1
        else:
            slots += [int(step.kind != "hit"), 0]
    return slots


def comparison_text(comparison: Comparison, examples: int = 10) -> str:
    """Format a comparison for the terminal: WERs, both tests, and the utterances that differ most."""
    a, b, test, pairs = comparison.name_a, comparison.name_b, comparison.bootstrap, comparison.matched_pairs
    lines = [
        f"A = {a}: WER {percent(comparison.wer_a)} %",
        f"B = {b}: WER {percent(comparison.wer_b)} %",
        f"B - A: {100 * (comparison.wer_b - comparison.wer_a):+.2f} points absolute, "
        f"95 % interval {100 * test.interval.low:+.2f} to {100 * test.interval.high:+.2f}",
        f"paired bootstrap: B better in {100 * test.improvement:.1f} % of test sets, p = {test.p_value:.4f}",
        f"matched pairs: {pairs.segments} segments, mean {pairs.mean:+.3f} errors, p = {pairs.p_value:.4f}",
        "significant at the 5 % level" if comparison.significant else "not significant at the 5 % level",
        f"utterances: {sum(d.errors < 0 for d in comparison.differences)} better in B, "
        f"{sum(d.errors > 0 for d in comparison.differences)} better in A, {comparison.same} equal",
    ]
    shown = comparison.differences[:examples]
    rows = [(d.a.id, f"{d.errors:+d}", line) for d in shown for line in _sides(d)]
    if rows:
        lines += ["", text_table(("utterance", "B - A", "words"), rows, left=3)]
    return "\n".join(lines)


def _sides(difference: Difference) -> list[str]:
    a, b = difference.a, difference.b
    return [f"{side}: {' '.join(words)}" for side, words in (("ref", a.ref), ("A  ", a.hyp), ("B  ", b.hyp))]

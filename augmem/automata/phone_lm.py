"""P: a small n-gram model over units, exactly normalised, as a deterministic acceptor without epsilons.

Estimated by interpolated absolute discounting (Ney, Essen and Kneser 1994, one discount per order), with a uniform
distribution below the unigrams, so that every unit can follow every history. Lower orders use plain counts, not
Kneser-Ney counts, because only the frequent long histories are kept and all others use the short ones directly. Each
state has one arc per unit, so there are no back-off arcs and sums over the graph are exact.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from augmem.automata.fsa import Arc, build_fsa
from augmem.lazy_k2 import k2

SEQUENCE_END = -1  # the end of a sequence, as label -1 in k2
SEQUENCE_START = -2  # the history of the first unit; never predicted

History = tuple[int, ...]


@dataclass(frozen=True)
class PhoneLm:
    """Probabilities of the next unit (or the end) for each history kept.

    Args:
        units: the units, without blank.
        probabilities: probability of each unit and of SEQUENCE_END after each history; sums to one. Contains
            (SEQUENCE_START,) and, for every other history, all its suffixes.

    Example:
        >>> lm = estimate_phone_lm([[1, 2], [1, 2, 1]], units=[1, 2], order=2, max_histories=0)
        >>> lm.log_probability([1, 2]) > lm.log_probability([2, 1])
        True
    """

    units: tuple[int, ...]
    probabilities: Mapping[History, Mapping[int, float]]

    def history_after(self, history: History, unit: int) -> History:
        """Return the longest known history that is a suffix of `history` followed by `unit`."""
        following = (*history, unit)
        while following not in self.probabilities:
            following = following[1:]
        return following

    def log_probability(self, sequence: Sequence[int]) -> float:
        """Return the natural log probability of a sequence including its end."""
        history: History = (SEQUENCE_START,)
        total = 0.0
        for unit in sequence:
            total += math.log(self.probabilities[history][unit])
            history = self.history_after(history, unit)
        return total + math.log(self.probabilities[history][SEQUENCE_END])

    def perplexity(self, sequences: Sequence[Sequence[int]]) -> float:
        """Return the perplexity per unit; ends count as units."""
        events = sum(len(sequence) + 1 for sequence in sequences)
        return math.exp(-sum(map(self.log_probability, sequences)) / max(events, 1))

    def acceptor(self) -> k2.Fsa:
        """Return P as a sorted k2 acceptor with one arc per unit and state, and ends as final arcs."""
        histories = sorted(self.probabilities, key=lambda h: (h != (SEQUENCE_START,), h))
        state = {history: i for i, history in enumerate(histories)}
        arcs = []
        for history in histories:
            for unit in self.units:
                target = state[self.history_after(history, unit)]
                arcs.append(Arc(state[history], target, unit, 0, math.log(self.probabilities[history][unit])))
            arcs.append(Arc(state[history], len(state), -1, -1, math.log(self.probabilities[history][SEQUENCE_END])))
        return k2.arc_sort(build_fsa(arcs, acceptor=True))


def estimate_phone_lm(
    sequences: Sequence[Sequence[int]], units: Sequence[int], order: int, max_histories: int
) -> PhoneLm:
    """Estimate an n-gram model of unit sequences.

    Args:
        sequences: training sequences.
        units: all units; those that do not occur get a small probability.
        order: n of the n-gram, at least 2.
        max_histories: number of histories longer than one unit that are kept, the most frequent ones.

    Raises:
        ValueError: there are no sequences, or one has a unit that is not in `units`.
    """
    unknown = {unit for sequence in sequences for unit in sequence} - set(units)
    if unknown or not sequences:
        raise ValueError(f"phone LM: {len(sequences)} sequences, units outside the inventory: {sorted(unknown)}")
    counts = _count(sequences, order)
    discounts = _discounts(counts, order)
    uniform = dict.fromkeys((*units, SEQUENCE_END), 1 / (len(units) + 1))
    model: dict[History, dict[int, float]] = {}
    for history in sorted(_histories(counts, units, order, max_histories), key=len):
        lower = model[history[1:]] if history else uniform
        model[history] = _interpolate(counts[history], discounts[len(history)], lower)
    return PhoneLm(tuple(units), {h: p for h, p in model.items() if h})


HistoryCounts = dict[History, Counter[int]]  # history -> next unit -> count


def _count(sequences: Sequence[Sequence[int]], order: int) -> HistoryCounts:
    """Count the units after each history of 0 to order - 1 units."""
    counts: HistoryCounts = defaultdict(Counter)
    for sequence in sequences:
        padded = [SEQUENCE_START, *sequence, SEQUENCE_END]
        for end in range(1, len(padded)):
            for begin in range(max(0, end - order + 1), end + 1):
                counts[tuple(padded[begin:end])][padded[end]] += 1
    return counts


def _histories(counts: HistoryCounts, units: Sequence[int], order: int, max_histories: int) -> set[History]:
    """Select the empty history, that of the start, all of one unit, and the most frequent longer ones with suffixes."""
    kept: set[History] = {(), (SEQUENCE_START,), *((unit,) for unit in units)}
    longer = [history for history in counts if 2 <= len(history) < order]
    longer.sort(key=lambda history: (-sum(counts[history].values()), len(history), history))
    for history in longer:
        missing = [history[i:] for i in range(len(history)) if history[i:] not in kept]
        if len(missing) <= max_histories:
            kept.update(missing)
            max_histories -= len(missing)
    return kept


def _discounts(counts: HistoryCounts, order: int) -> list[float]:
    """Estimate n1 / (n1 + 2 n2) (Ney) for histories of each length; 0.5 if there are no such counts."""
    discounts = []
    for length in range(order):
        seen = [c for history, following in counts.items() if len(history) == length for c in following.values()]
        once, twice = seen.count(1), seen.count(2)
        discounts.append(once / (once + 2 * twice) if once and twice else 0.5)
    return discounts


def _interpolate(following: Counter[int], discount: float, lower: Mapping[int, float]) -> dict[int, float]:
    """Return discounted relative frequencies plus the discounted mass times the lower-order distribution."""
    total = sum(following.values())
    if not total:
        return dict(lower)
    reserved = discount * len(following) / total
    return {unit: max(following[unit] - discount, 0) / total + reserved * p for unit, p in lower.items()}

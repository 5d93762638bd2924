"""Reference scores by enumeration: every frame sequence, its unit sequences and their probability."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

Units = tuple[int, ...]


Biphones = Sequence[tuple[int, int]]


def readings(topology: str, frames: Sequence[int], num_units: int, biphones: Biphones = ()) -> list[Units]:
    """Return all unit sequences of a frame sequence by the definition of the topology; some of them twice."""
    unit_of = [*range(num_units), *(unit for _, unit in biphones)]
    table = {pair: num_units + n for n, pair in enumerate(biphones)}
    found = []
    for classes in readings_in_classes(topology, frames, len(unit_of)):
        units = tuple(unit_of[c] for c in classes)
        if classes == tuple(table.get(pair, pair[1]) for pair in zip((0, *units), units, strict=False)):
            found.append(units)
    return found


def readings_in_classes(topology: str, frames: Sequence[int], num_units: int) -> list[Units]:
    """Return the class sequences of a frame sequence, ignoring context."""
    if topology == "chain":
        return _chain(frames, num_units)
    runs = [(label, len(list(group))) for label, group in itertools.groupby(frames)]
    if topology == "ctc":
        return [tuple(label for label, _ in runs if label)]
    if topology == "hmm" and any(label == 0 for label, _ in runs):
        return []
    # A run of n frames of one unit is 1 to n repetitions of it, k of them in (n-1 over k-1) ways.
    options = [
        [(label,) * k for k in range(1, n + 1) for _ in range(math.comb(n - 1, k - 1))] if label else [()]
        for label, n in runs
    ]
    return [tuple(itertools.chain(*choice)) for choice in itertools.product(*options)]


def _chain(frames: Sequence[int], num_units: int) -> list[Units]:
    units: list[int] = []
    for label in frames:
        if 0 < label < num_units:
            units.append(label)
        elif label == 0 or not units or label != units[-1] + num_units - 1:
            return []
    return [tuple(units)]


def total_score(
    log_probs: Tensor,
    topology: str,
    num_units: int,
    weight: Callable[[Units], float],
    best: bool = False,
    biphones: Biphones = (),
) -> float:
    """Return the log sum (or maximum) over all frame sequences of their probability times the weights of their units.

    Args:
        log_probs: (T, V); all V^T sequences are visited.
    """
    T, V = log_probs.shape
    table = log_probs.tolist()
    scores = []
    for frames in itertools.product(range(V), repeat=T):
        acoustic = sum(table[t][v] for t, v in enumerate(frames))
        found = readings(topology, frames, num_units, biphones)
        scores += [acoustic + math.log(w) for r in found if (w := weight(r)) > 0]
    if not scores or best:
        return max(scores, default=-math.inf)
    return max(scores) + math.log(sum(math.exp(s - max(scores)) for s in scores))


def unit_sequences(words: Sequence[Sequence[Sequence[int]]], silence: int | None) -> Iterator[Units]:
    """Yield every unit sequence of words given by their pronunciations, with optional silence around each."""
    silences: list[Units] = [()] if silence is None else [(), (silence,)]
    slots: list[list[Units]] = [silences]
    for pronunciations in words:
        slots += [[tuple(p) for p in pronunciations], silences]
    for choice in itertools.product(*slots):
        yield tuple(itertools.chain(*choice))

"""Forced alignment against enumeration of every labelling of every frame."""

from __future__ import annotations

import itertools

import decoding_toys as toys
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augmem.decoding.alignment import Aligner
from augmem.graph import num_outputs

LANG = toys.ToyLang()
SHIFT = 0.04


def best_by_enumeration(
    log_probs: torch.Tensor, words: list[str]
) -> tuple[float, list[tuple[str, float]], list[float]]:
    """Score, (unit, start) and word starts of the best alignment under the standard CTC topology."""
    ways = {}
    for way in LANG.spellings(words):
        ways.setdefault(tuple(unit for unit, _ in way), way)
    rows, best = log_probs.double().tolist(), (-float("inf"), ())
    for labels in itertools.product(range(LANG.num_units), repeat=len(rows)):
        if tuple(label for label, _ in itertools.groupby(labels) if label) in ways:
            best = max(best, (sum(row[label] for row, label in zip(rows, labels, strict=True)), labels))
    score, labels = best
    starts = [t for t, label in enumerate(labels) if label and (t == 0 or labels[t - 1] != label)]
    way = ways[tuple(labels[t] for t in starts)]
    names = {number: name for name, number in LANG.tokens.items()}
    units = [(names[unit], t * SHIFT) for (unit, _), t in zip(way, starts, strict=True)]
    score += (len(words) + 1) * LANG.silence_score
    return score, units, [t * SHIFT for (_, word), t in zip(way, starts, strict=True) if word >= 0]


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from([["TWO"], ["ONE", "TO"], ["TO", "TOO"], ["ELSE", "TO"], []]))
def test_alignment_is_the_best_of_all(seed: int, words: list[str]) -> None:
    log_probs = toys.random_scores(seed, 6, units=LANG.num_units)[0]
    alignment = Aligner(LANG, "ctc", SHIFT).align(log_probs, words)
    score, units, word_starts = best_by_enumeration(log_probs, words)
    assert alignment.score == pytest.approx(score, abs=1e-4)
    assert [(unit.symbol, pytest.approx(unit.start)) for unit in alignment.units] == units
    assert [word.symbol for word in alignment.words] == words
    assert [word.start for word in alignment.words] == pytest.approx(word_starts)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from(["ctc", "modified_ctc", "hmm", "chain"]))
def test_times_are_in_order_for_every_topology(seed: int, topology: str) -> None:
    words = ["ONE", "TWO", "TWO", "TO"]
    log_probs = toys.random_scores(seed, 25, units=num_outputs(topology, LANG.num_units))[0]
    alignment = Aligner(LANG, topology, SHIFT).align(log_probs, words)
    assert [word.symbol for word in alignment.words] == words
    for row in (alignment.words, alignment.units):
        assert all(here.end <= there.start + 1e-9 for here, there in itertools.pairwise(row))
        assert all(timed.duration > 0 for timed in row) and row[-1].end <= 25 * SHIFT + 1e-9
    if topology in ("hmm", "chain"):  # every frame belongs to a unit
        assert sum(unit.duration for unit in alignment.units) == pytest.approx(25 * SHIFT)


def test_a_unit_holds_on_over_blanks_but_not_for_ever() -> None:
    """ONE = A B, SIL, TO = B; spikes at frames 2, 4, 12, 14."""
    log_probs = torch.full((20, 5), -20.0)
    log_probs[:, 0] = 0
    for frame, unit in [(2, 1), (4, 2), (12, 4), (14, 2), (15, 2)]:
        log_probs[frame, unit], log_probs[frame, 0] = 0, -20
    alignment = Aligner(LANG, "ctc", 0.1, hold=0.3).align(log_probs, ["ONE", "TO"])
    units = [(u.symbol, round(u.start, 3), round(u.end, 3)) for u in alignment.units]
    assert units == [("A", 0.2, 0.4), ("B", 0.4, 0.8), ("SIL", 1.2, 1.4), ("B", 1.4, 1.9)]
    assert [(w.symbol, round(w.start, 3), round(w.end, 3)) for w in alignment.words] == [
        ("ONE", 0.2, 0.8),
        ("TO", 1.4, 1.9),
    ]


def test_a_transcript_that_does_not_fit_is_refused() -> None:
    aligner = Aligner(LANG, "ctc", SHIFT)
    with pytest.raises(ValueError, match=r"2 words do not fit into 3 frames \(0.12 s\)"):
        aligner.align(toys.random_scores(1, 3, units=5)[0], ["ONE", "TWO"])
    with pytest.raises(ValueError, match="do not fit into 0 frames"):
        aligner.align(torch.zeros(0, 5), ["ONE"])

"""Alignments equal brute force over all frame labellings, for each topology, with and without context."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augmem.decoding.alignment import Aligner, Alignment
from augmem.errors import UserError
from augmem.graph import TOPOLOGIES, Biphones, num_outputs
from tests.automata.toy_lang import ToyLang

LANG = ToyLang({"A": ["X"], "AB": ["X Y", "Y X"], "B": ["Y"], "BB": ["Y Y"], "<UNK>": ["X Y X"]})
WORDS = ["A", "AB", "B", "BB", "ZZ"]
SHIFT = 0.04
SIL, X, Y = (LANG.tokens[unit] for unit in ("SIL", "X", "Y"))
BIPHONES = ((0, X), (SIL, X), (X, Y), (Y, Y))  # after the start, silence, another unit and itself
CASES = [(topology, biphones) for topology in TOPOLOGIES for biphones in ((), BIPHONES)]


def unit_sequences(words: Sequence[str]) -> set[tuple[int, ...]]:
    """Return all pronunciations of the words, with and without silence around each word."""
    slots: list[list[list[int]]] = [[[], [SIL]]]
    for word in words:
        slots += [LANG.pronunciations.get(word, LANG.pronunciations["<UNK>"]), [[], [SIL]]]
    return {tuple(itertools.chain(*choice)) for choice in itertools.product(*slots)}


def outputs(topology: str, units: Sequence[int], frames: int, biphones: Biphones) -> set[tuple[int, ...]]:
    """Return all frame labellings of these units."""
    found = set()
    classes = {pair: LANG.num_units + n for n, pair in enumerate(biphones)}
    num_classes = LANG.num_units + len(biphones)
    blanks = topology in ("ctc", "modified_ctc")

    def grow(done: tuple[int, ...], rest: Sequence[int]) -> None:
        if len(done) == frames:
            if not rest:
                found.add(done)
            return
        if blanks:
            grow((*done, 0), rest)
        if not rest:
            return
        if topology == "ctc" and done and done[-1] == rest[0]:
            return  # equal outputs need a blank between them
        longer = rest[0] + (num_classes - 1 if topology == "chain" else 0)
        for length in range(1, frames - len(done) + 1):
            grow((*done, rest[0], *[longer] * (length - 1)), rest[1:])

    grow((), [classes.get(pair, pair[1]) for pair in itertools.pairwise((0, *units))])
    return found


def best_score(topology: str, scores: torch.Tensor, words: Sequence[str], biphones: Biphones) -> float:
    frames = range(len(scores))
    labellings = set().union(*(outputs(topology, units, len(scores), biphones) for units in unit_sequences(words)))
    return max((float(sum(scores[t, o[t]] for t in frames)) for o in labellings), default=float("-inf"))


def align(topology: str, scores: torch.Tensor, words: Sequence[str], biphones: Biphones = ()) -> Alignment:
    aligner = Aligner(LANG, topology, lambda frame: SHIFT * frame, hold=1, biphones=biphones)  # type: ignore[arg-type]
    return aligner.align(scores, " ".join(words))


@pytest.mark.parametrize(("topology", "biphones"), CASES)
@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=2), st.integers(0, 1000), st.integers(3, 6))
def test_best_path_is_the_best_of_all_labellings(
    topology: str, biphones: Biphones, words: list[str], seed: int, frames: int
) -> None:
    torch.manual_seed(seed)
    scores = torch.randn(frames, num_outputs(topology, LANG.num_units, biphones)).mul(3).log_softmax(-1)
    wanted = best_score(topology, scores.double(), words, biphones)
    if wanted == float("-inf"):
        with pytest.raises(UserError, match="do not fit into"):
            align(topology, scores, words, biphones)
        return
    found = align(topology, scores, words, biphones)
    assert found.score == pytest.approx(wanted, abs=1e-4)
    assert [word.symbol for word in found.words] == words
    spoken = tuple(LANG.tokens[unit.symbol] for unit in found.units)
    assert spoken in unit_sequences(words)


@pytest.mark.parametrize(("topology", "biphones"), CASES)
@settings(max_examples=15, deadline=None)
@given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_times_are_in_order_and_units_lie_within_their_words(
    topology: str, biphones: Biphones, words: list[str], seed: int
) -> None:
    torch.manual_seed(seed)
    scores = torch.randn(40, num_outputs(topology, LANG.num_units, biphones)).log_softmax(-1)
    found = align(topology, scores, words, biphones)
    for timed in (found.words, found.units):
        assert all(item.begin < item.end <= 40 * SHIFT + 1e-6 for item in timed)
        assert all(a.end <= b.begin + 1e-6 for a, b in itertools.pairwise(timed))
    for word in found.words:
        inside = tuple(u.symbol for u in found.units if word.begin <= u.begin and u.end <= word.end + 1e-6)
        known = LANG.pronunciations.get(word.symbol, LANG.pronunciations["<UNK>"])
        assert [LANG.tokens[unit] for unit in inside] in known


def test_a_transcript_without_words_is_refused() -> None:
    with pytest.raises(UserError, match="the transcript has no words"):
        align("ctc", torch.zeros(9, LANG.num_units).log_softmax(-1), [])


def test_units_start_at_their_spikes() -> None:
    """SIL, X, Y with blanks after each: X ends where Y starts; Y ends after one frame of blank."""
    labels = [SIL, SIL, 0, X, 0, 0, Y, 0, 0, 0]
    scores = torch.full((10, LANG.num_units), -10.0)
    scores[range(10), labels] = 0.0
    found = align("ctc", scores.log_softmax(-1), ["AB"])
    assert [(w.symbol, w.begin, w.end) for w in found.words] == [("AB", pytest.approx(0.12), pytest.approx(0.32))]
    assert [(u.symbol, round(u.begin / SHIFT), round(u.end / SHIFT)) for u in found.units] == [
        ("SIL", 0, 3), ("X", 3, 6), ("Y", 6, 8),
    ]  # fmt: skip

"""The lexicon as a k2 transducer from units to words, state for state as icefall lays it out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import k2
import torch

from augmem.lang.lexicon import SILENCE, Entry

EPSILON = 0


class Arc(NamedTuple):
    """One arc; `score` is a natural logarithm, as everywhere in k2."""

    source: int
    target: int
    unit: int
    word: int
    score: float = 0.0


class Sink(NamedTuple):
    """A state where words may end, and the score of ending there."""

    state: int
    score: float


def lexicon_fst(
    entries: Sequence[Entry],
    tokens: Mapping[str, int],
    words: Mapping[str, int],
    silence_probability: float = 0.0,
    grammar_loops: bool = False,
) -> k2.Fsa:
    """Build L: any sequence of words, each in any of its pronunciations, with optional silence around them.

    With silence, state 0 is the start, 1 the loop that words leave and enter, and 2 leads to it over one SIL;
    every word ends in 1 (no silence) and in 2 (silence follows). Without, state 0 is that loop. A word's
    label is on its first arc. The final state comes last.

    Args:
        entries: words and their units, disambiguation symbols included if L is to be composed with a grammar.
        silence_probability: of silence at the start and after every word; 0 leaves silence out.
        grammar_loops: let #0, the back-off label of a grammar, pass at the loop state (for L_disambig).
    Raises:
        ValueError: an entry has no units.
    """
    arcs, loop, free = _skeleton(silence_probability, tokens)
    sinks = [Sink(loop, 0.0)]
    if silence_probability:
        sinks = [Sink(loop, math.log(1 - silence_probability)), Sink(2, math.log(silence_probability))]
    for word, units in entries:
        if not units:
            raise ValueError(f"{word} has an empty pronunciation in the lexicon")
        arcs += _word_arcs(words[word], [tokens[unit] for unit in units], loop, free, sinks)
        free += len(units) - 1
    if grammar_loops:
        arcs.append(Arc(loop, loop, tokens["#0"], words["#0"]))
    arcs.append(Arc(loop, free, -1, -1))
    return _to_k2(arcs)


def _skeleton(silence_probability: float, tokens: Mapping[str, int]) -> tuple[list[Arc], int, int]:
    """The arcs between words; the loop state; the first free state."""
    if not silence_probability:
        return [], 0, 1
    start, loop, silence = 0, 1, 2
    arcs = [
        Arc(start, loop, EPSILON, EPSILON, math.log(1 - silence_probability)),
        Arc(start, silence, EPSILON, EPSILON, math.log(silence_probability)),
        Arc(silence, loop, tokens[SILENCE], EPSILON),
    ]
    return arcs, loop, 3


def _word_arcs(word: int, units: Sequence[int], loop: int, free: int, sinks: Iterable[Sink]) -> list[Arc]:
    """A chain of arcs from the loop to each of the sinks; the word is said on the first arc."""
    states = [loop, *range(free, free + len(units) - 1)]
    said = [word] + [EPSILON] * (len(units) - 1)
    chain = [Arc(a, b, unit, out) for a, b, unit, out in zip(states, states[1:], units, said, strict=False)]
    return chain + [Arc(states[-1], sink.state, units[-1], said[-1], sink.score) for sink in sinks]


def _to_k2(arcs: Iterable[Arc]) -> k2.Fsa:
    """k2 wants arcs sorted by their source and scores as the bits of float32 in the fourth column."""
    ordered = sorted(arcs, key=lambda arc: arc.source)
    heads = torch.tensor([arc[:3] for arc in ordered], dtype=torch.int32)
    scores = torch.tensor([arc.score for arc in ordered], dtype=torch.float32)
    packed = torch.cat([heads, scores.view(torch.int32).unsqueeze(1)], dim=1)
    return k2.Fsa(packed, aux_labels=torch.tensor([arc.word for arc in ordered], dtype=torch.int32))

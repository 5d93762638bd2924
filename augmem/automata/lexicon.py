"""L: the lexicon as a k2 transducer from units to words, in icefall's state layout."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from augmem.automata.fsa import Arc, build_fsa
from augmem.errors import UserError
from augmem.lang import SILENCE, Entry, Lang, add_disambiguation
from augmem.lazy_k2 import k2

EPSILON = 0


class Sink(NamedTuple):
    """A state where words may end, and the score of ending there."""

    state: int
    score: float


def build_lexicon(lang: Lang, disambiguate: bool = False, words: Iterable[str] | None = None) -> k2.Fsa:
    """Build L for the words of a lang folder.

    Args:
        lang: pronunciations, symbol tables and silence probability.
        disambiguate: add the disambiguation symbols that composition with a grammar needs.
        words: the words to include; None: all.

    Raises:
        UserError: the tokens have too few disambiguation symbols for the lexicon.
    """
    entries = [
        (word, tuple(lang.unit_of[unit] for unit in units))
        for word in (lang.pronunciations if words is None else words)
        for units in lang.pronunciations[word]
    ]
    if disambiguate:
        entries, highest = add_disambiguation(entries)
        if f"#{highest}" not in lang.tokens:
            raise UserError(f"{lang.folder / 'tokens.txt'}: #{highest} is missing; run the lang stage again")
    return lexicon_fst(entries, lang.tokens, lang.words, lang.silence_probability, grammar_loops=disambiguate)


def lexicon_fst(
    entries: Sequence[Entry],
    tokens: Mapping[str, int],
    words: Mapping[str, int],
    silence_probability: float = 0.0,
    grammar_loops: bool = False,
) -> k2.Fsa:
    """Build L: any sequence of words, each in any of its pronunciations, with optional silence around them.

    With silence, state 0 is the start, state 1 the loop that words leave and enter, and state 2 leads to the loop over
    one SIL; every word ends in state 1 (no silence) and in state 2 (silence follows). Without silence, state 0 is the
    loop. The word label is on the first arc of a word. The final state comes last.

    Args:
        entries: words and their units, including disambiguation symbols if L is to be composed with a grammar.
        tokens: unit -> id.
        words: word -> id.
        silence_probability: probability of silence at the start and after every word; 0 leaves silence out.
        grammar_loops: add a self-loop with #0, the back-off label of a grammar, at the loop state (for L_disambig).

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
    return build_fsa(arcs)


def _skeleton(silence_probability: float, tokens: Mapping[str, int]) -> tuple[list[Arc], int, int]:
    """Return the arcs between words, the loop state and the first free state."""
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
    """Return a chain of arcs from the loop to each of the sinks, with the word label on the first arc."""
    states = [loop, *range(free, free + len(units) - 1)]
    outputs = [word] + [EPSILON] * (len(units) - 1)
    chain = [Arc(a, b, unit, output) for a, b, unit, output in zip(states, states[1:], units, outputs, strict=False)]
    return chain + [Arc(states[-1], sink.state, units[-1], outputs[-1], sink.score) for sink in sinks]

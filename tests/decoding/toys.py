"""A small language whose decoding graph can be enumerated.

Three units besides blank, four words (two are homophones, two begin with the same unit), a bigram
grammar with back-off.
The reference scores here are sums and maxima over every labelling of every frame: no graph, no search.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from functools import lru_cache

import k2
import numpy as np
import torch
from torch import Tensor

from augmem.decoding.config import SearchConfig
from augmem.decoding.lattice import Lattice

NUM_UNITS = 4
DISAMBIGUATION = 9  # marks back-off, so that it occurs between words only and each path exists once
LEXICON = {1: (1, 2), 2: (1, 3), 3: (2,), 4: (2,)}
UNIGRAM = {1: -1.2, 2: -1.6, 3: -1.1, 4: -2.3}
END_UNIGRAM = -1.4
BACK_OFF = {0: -0.4, 1: -0.7, 2: -0.2, 3: -0.9, 4: -0.3}  # history 0 is the sentence start
BIGRAM = {(0, 1): -0.5, (1, 3): -0.6, (3, 2): -0.8, (2, 1): -0.3, (4, 4): -0.9}
END_BIGRAM = {1: -0.7, 3: -0.5}


def limits(nbest: int, nbest_beam: float, nbest_tokens: int) -> SearchConfig:
    """Limits of an n-best list."""
    return SearchConfig(nbest=nbest, nbest_beam=nbest_beam, nbest_tokens=nbest_tokens)


def toy_graph() -> k2.Fsa:
    """CTC topology o lexicon o grammar; words as `aux_labels`, epsilons of the grammar removed."""
    lexicon_grammar = k2.compose(k2.arc_sort(toy_lexicon()), k2.arc_sort(toy_grammar()))
    for name in ("labels", "aux_labels"):
        labels = getattr(lexicon_grammar, name).clone()
        labels[labels == DISAMBIGUATION] = 0
        setattr(lexicon_grammar, name, labels)
    lexicon_grammar = k2.arc_sort(k2.connect(k2.remove_epsilon(k2.connect(lexicon_grammar))))
    topology = k2.arc_sort(k2.ctc_topo(NUM_UNITS - 1))
    return k2.connect(k2.compose(topology, lexicon_grammar, inner_labels="units"))


def toy_lexicon() -> k2.Fsa:
    """Loop over pronunciations; the first unit of a word emits it."""
    inner, lines = itertools.count(1), []
    for word, units in LEXICON.items():
        states = [0, *(next(inner) for _ in units[1:]), 0]
        for position, unit in enumerate(units):
            lines.append((states[position], states[position + 1], unit, word if position == 0 else 0, 0.0))
    last = max(line[0] for line in lines) + 1
    lines.append((0, 0, DISAMBIGUATION, DISAMBIGUATION, 0.0))
    lines.append((0, last, -1, -1, 0.0))
    return from_arcs(lines, last)


def toy_grammar() -> k2.Fsa:
    """State 0 sentence start, 1..4 after that word, 5 backed off, 6 end."""
    lines = [(history, 5, DISAMBIGUATION, DISAMBIGUATION, weight) for history, weight in BACK_OFF.items()]
    lines += [(history, word, word, word, weight) for (history, word), weight in BIGRAM.items()]
    lines += [(5, word, word, word, weight) for word, weight in UNIGRAM.items()]
    lines += [(history, 6, -1, -1, weight) for history, weight in END_BIGRAM.items()]
    lines.append((5, 6, -1, -1, END_UNIGRAM))
    grammar = from_arcs(lines, 6)
    del grammar.aux_labels
    return grammar


def from_arcs(lines: list[tuple[int, int, int, int, float]], last: int) -> k2.Fsa:
    """Make a transducer from (source, target, label, word, score)."""
    text = [f"{a} {b} {label} {word} {score}" for a, b, label, word, score in sorted(lines)]
    return k2.Fsa.from_str("\n".join([*text, str(last)]), num_aux_labels=1)


def random_scores(seed: int, frames: int, batch: int = 1, sharpness: float = 2.0, units: int = NUM_UNITS) -> Tensor:
    """Return random log-probabilities of shape (batch, frames, units)."""
    generator = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(batch, frames, units, generator=generator)).log_softmax(-1)


def grammar_paths(words: tuple[int, ...]) -> list[float]:
    """Return the scores of all grammar paths: for each word either the bigram or back-off."""
    scores = [0.0]
    for history, word in itertools.pairwise((0, *words, -1)):
        if word == -1:
            explicit, backed = END_BIGRAM.get(history), BACK_OFF[history] + END_UNIGRAM
        else:
            explicit, backed = BIGRAM.get((history, word)), BACK_OFF[history] + UNIGRAM[word]
        ways = [backed] if explicit is None else [explicit, backed]
        scores = [score + way for score in scores for way in ways]
    return scores


@lru_cache
def parses(units: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return all word sequences with these units."""
    if not units:
        return [()]
    found = []
    for word, spelling in LEXICON.items():
        if units[: len(spelling)] == spelling:
            found += [(word, *rest) for rest in parses(units[len(spelling) :])]
    return found


def all_sentences(log_probs: Tensor, acoustic_scale: float = 1.0) -> dict[tuple[int, ...], tuple[float, float]]:
    """Return (log-sum, best) over all alignments and grammar paths of each word sequence, for scores (T, V)."""
    alignments: dict[tuple[int, ...], list[float]] = defaultdict(list)
    rows = log_probs.double().tolist()
    for labels in itertools.product(range(log_probs.shape[1]), repeat=len(rows)):
        units = tuple(label for label, _ in itertools.groupby(labels) if label)
        alignments[units].append(acoustic_scale * sum(row[label] for row, label in zip(rows, labels, strict=True)))
    return {
        words: (log_sum(scores) + log_sum(grammar_paths(words)), max(scores) + max(grammar_paths(words)))
        for units, scores in alignments.items()
        for words in parses(units)
    }


def all_paths(lattice: Lattice, state: int = 0) -> list[list[int]]:
    """Return all paths from a state to the end, as arcs."""
    if state == lattice.num_states - 1:
        return [[]]
    leaving = np.flatnonzero(lattice.source == state)
    return [[int(arc), *rest] for arc in leaving for rest in all_paths(lattice, int(lattice.target[arc]))]


def log_sum(values: list[float]) -> float:
    """Return the logarithm of the sum of exponentials."""
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))


class ToyLang:
    """Lang folder of the toy language: words, an unknown word, and optional silence around words."""

    oov_word = "<UNK>"
    num_units = 5
    silence_score = math.log(0.5)

    def __init__(self) -> None:
        self.tokens = {"<eps>": 0, "A": 1, "B": 2, "C": 3, "SIL": 4}
        self.words = {"<eps>": 0, "ONE": 1, "TWO": 2, "TO": 3, "TOO": 4, "<UNK>": 5}
        self.pronunciations = {
            "ONE": [(1, 2)],
            "TWO": [(1, 3), (3, 1, 3)],
            "TO": [(2,)],
            "TOO": [(2,)],
            "<UNK>": [(3,)],
        }

    def L(self) -> k2.Fsa:  # noqa: N802
        """States: 0 start, 1 between words, 2 before silence. The first unit of a word emits it."""
        half, sil = self.silence_score, self.tokens["SIL"]
        lines = [(0, 1, 0, 0, half), (0, 2, 0, 0, half), (2, 1, sil, 0, 0.0)]
        states = itertools.count(3)
        for word, forms in self.pronunciations.items():
            for units in forms:
                chain = [1, *(next(states) for _ in units[1:])]
                for position, unit in enumerate(units):
                    out = self.words[word] if position == 0 else 0
                    if position + 1 < len(units):
                        lines.append((chain[position], chain[position + 1], unit, out, 0.0))
                    else:
                        lines += [
                            (chain[position], 1, unit, out, half),
                            (chain[position], 2, unit, out, half),
                        ]
        last = next(states)
        return from_arcs([*lines, (1, last, -1, -1, 0.0)], last)

    def spellings(self, words: list[str]) -> list[list[tuple[int, int]]]:
        """Return all pronunciations of the words, as (unit, number of the word that it starts, or -1)."""
        ways: list[list[tuple[int, int]]] = [[], [(self.tokens["SIL"], -1)]]
        for number, word in enumerate(words):
            spoken = [
                [(unit, number if position == 0 else -1) for position, unit in enumerate(units)] + silence
                for units in self.pronunciations.get(word, self.pronunciations[self.oov_word])
                for silence in ([], [(self.tokens["SIL"], -1)])
            ]
            ways = [way + tail for way in ways for tail in spoken]
        return ways

"""A lang in memory, in icefall's form, for tests that want to choose every pronunciation themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import k2

from augmem.graph.fsa import Arc, build_fsa


class ToyLang:
    """Stands in for augmem.lang.Lang.

    Args:
        lexicon: word -> its pronunciations, as names of units.
        silence: probability of the unit SIL around words; None for a lang without silence (as BPE langs are).
    """

    blank = 0

    def __init__(self, lexicon: Mapping[str, Sequence[str]], silence: float | None = 0.5) -> None:
        entries = {word: [p.split() for p in found] for word, found in lexicon.items()}
        names = sorted({unit for found in entries.values() for p in found for unit in p} - {"SIL"})
        if silence is not None:
            names = ["SIL", *names]
        self.tokens = {"<eps>": 0} | {name: i for i, name in enumerate(names, 1)}
        self.unit_ids = list(range(1, len(self.tokens)))
        self.num_units = len(self.tokens)
        self.words = {"<eps>": 0} | {word: i for i, word in enumerate(sorted(entries), 1)}
        self.pronunciations = {w: [[self.tokens[u] for u in p] for p in found] for w, found in entries.items()}
        self.oov_word = "<UNK>" if "<UNK>" in entries else next(iter(entries))
        self.silence = silence
        self._num_disambig = self._add_disambig()

    def _add_disambig(self) -> int:
        """Give every pronunciation a symbol of its own, which disambiguates more than enough."""
        count = 1 + sum(map(len, self.pronunciations.values())) + 1
        for i in range(count):
            self.tokens[f"#{i}"] = self.num_units + i
        self.words["#0"] = len(self.words)
        return count

    @property
    def unit_of(self) -> dict[int, str]:
        return {index: unit for unit, index in self.tokens.items()}

    def word_ids(self, text: str) -> list[int]:
        return [self.words.get(word, self.words[self.oov_word]) for word in text.split()]

    def L(self) -> k2.Fsa:  # noqa: N802
        return self._lexicon(disambig=False)

    def L_disambig(self) -> k2.Fsa:  # noqa: N802
        return self._lexicon(disambig=True)

    def _lexicon(self, disambig: bool) -> k2.Fsa:
        """Start 0, loop 1, silence 2: as icefall's prepare_lang builds it."""
        p = self.silence or 0.0
        no, yes = (math.log(1 - p), math.log(p)) if p else (0.0, 0.0)
        arcs = [Arc(0, 1, 0, 0, no)]
        sil, last = self.tokens.get("SIL", 0), self.num_units + self._num_disambig - 1
        state = 3
        if p:
            arcs.append(Arc(0, 2, 0, 0, yes))
            if disambig:
                arcs += [Arc(2, 3, sil, 0), Arc(3, 1, last, 0)]
                state = 4
            else:
                arcs.append(Arc(2, 1, sil, 0))
        marker = self.num_units + 1
        for word, found in self.pronunciations.items():
            for pronunciation in found:
                units = [*pronunciation, marker] if disambig else pronunciation
                marker += 1
                current = 1
                for i, unit in enumerate(units):
                    output = self.words[word] if i == 0 else 0
                    if i + 1 < len(units):
                        arcs.append(Arc(current, state, unit, output))
                        current, state = state, state + 1
                    else:
                        arcs.append(Arc(current, 1, unit, output, no))
                        if p:
                            arcs.append(Arc(current, 2, unit, output, yes))
        if disambig:
            arcs.append(Arc(1, 1, self.tokens["#0"], self.words["#0"]))
        arcs.append(Arc(1, state, -1, -1))
        if not p:
            arcs = [a._replace(source=_skip2(a.source), target=_skip2(a.target)) for a in arcs]
        return k2.arc_sort(build_fsa(arcs))


def _skip2(state: int) -> int:
    """Without silence there is no state 2; state numbers must have no gap."""
    return state - 1 if state > 2 else state

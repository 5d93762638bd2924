"""A second opinion: a larger n-gram model in the place of the first pass's, on whole lattices and on sentences.

The lattice is walked frame by frame with the models' state beside its own (Ljolje et al. 1999, on-the-fly composition):
each pair of both becomes a state of the new lattice. KenLM knows the smallest state that matters, so paths
join as early as they can, and back-off is walked as the model means it, without the ambiguity of epsilon arcs.

The difference of both models is added to what the decoding graph said, as Kaldi does it. So what is not the language
model's stays (pronunciations, silences), and so do the weights of a path's copies: a back-off grammar in a graph is
ambiguous (see `nbest`), and copies of equal weight would count a path as often as there are.

Letters: A arcs, N states alive at a frame.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import kenlm
import numpy as np

from augmem.decoding.lattice import FINAL, Floats, Ints, Lattice, ranges

UNSEEN = -7.0  # log10 of a word the model has no score for at all, and no word for the unknown either
END = "</s>"


class TooLarge(ValueError):  # noqa: N818 - a fact about a lattice, not a mistake
    """A lattice has more arcs under the larger model than are allowed."""


class LanguageModel:
    """Scores of words after words. States are numbers, 0 is a sentence's beginning; what was asked is remembered.

    Args:
        beginning: a sentence's beginning in the model's own form.
    """

    def __init__(self, beginning: Any) -> None:
        self.states = [beginning]
        self.numbers = {beginning: 0}
        self.known: dict[tuple[int, str], tuple[int, float]] = {}

    def extend(self, state: int, word: str) -> tuple[int, float]:
        """The state after one more word, and the word's score, a natural logarithm."""
        if (state, word) not in self.known:
            after, score = self._follow(self.states[state], word)
            number = self.numbers.setdefault(after, len(self.states))
            if number == len(self.states):
                self.states.append(after)
            self.known[state, word] = number, score
        return self.known[state, word]

    def _follow(self, state: Any, word: str) -> tuple[Any, float]:
        """The same for a state in the model's own form."""
        raise NotImplementedError

    def sentence(self, words: Sequence[str]) -> float:
        """Score of words and the end of the sentence."""
        state, total = 0, 0.0
        for word in (*words, END):
            state, score = self.extend(state, word)
            total += score
        return total


class NgramModel(LanguageModel):
    """An n-gram model in ARPA form; the score is log p(word | state).

    Args:
        arpa: the file, or KenLM's binary form of it.

    Raises:
        ValueError: it is no n-gram model.
    """

    def __init__(self, arpa: Path) -> None:
        settings = kenlm.Config()
        settings.show_progress, settings.arpa_complain = False, kenlm.ARPALoadComplain.NONE
        try:
            self.model = kenlm.Model(str(arpa), settings)
        except (OSError, RuntimeError) as error:
            raise ValueError(f"{arpa}: not an n-gram model ({error}); run the lm stage again") from error
        beginning = kenlm.State()
        self.model.BeginSentenceWrite(beginning)
        super().__init__(beginning)
        self.unseen: Counter[str] = Counter()

    def _follow(self, state: Any, word: str) -> tuple[Any, float]:
        after = kenlm.State()
        score = self.model.BaseScore(state, word, after)
        if word not in self.model:
            self.unseen[word] += 1
        return after, max(score, UNSEEN) * math.log(10)


class Exchange(LanguageModel):
    """A larger model in a smaller one's place: a word is worth what the larger one says above the smaller one."""

    def __init__(self, smaller: LanguageModel, larger: LanguageModel) -> None:
        super().__init__((0, 0))
        self.smaller, self.larger = smaller, larger

    def _follow(self, state: tuple[int, int], word: str) -> tuple[tuple[int, int], float]:
        smaller, before = self.smaller.extend(state[0], word)
        larger, after = self.larger.extend(state[1], word)
        return (smaller, larger), after - before


def rescored(lattice: Lattice, model: LanguageModel, words: Mapping[int, str], max_arcs: int) -> Lattice:
    """The lattice's paths with the model's scores added to `graph`.

    Args:
        words: word id -> word.
        max_arcs: arcs of the new lattice at most.

    Raises:
        TooLarge: there would be more.
    """
    arcs, sources, targets, graph = [], [], [], []
    state, context = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)  # (N,) lattice's and model's
    first = count = 0  # number of the first state alive, and arcs so far
    for frame in lattice.frames():
        leaving = lattice.arc_splits[state + 1] - lattice.arc_splits[state]
        arc, row = ranges(lattice.arc_splits[state], leaving), np.repeat(np.arange(len(state)), leaving)
        count += len(arc)
        if count > max_arcs:
            raise TooLarge(f"more than {max_arcs} arcs after {frame} of {lattice.num_frames} frames")
        reached, scores = follow(model, words, context[row], lattice.words[arc], lattice.unit[arc] == FINAL)
        pairs, target = np.unique(np.stack([lattice.target[arc], reached], axis=1), axis=0, return_inverse=True)
        arcs.append(arc)
        sources.append(first + row)
        first += len(state)
        targets.append(first + target.ravel())
        graph.append(scores)
        state, context = pairs[:, 0], pairs[:, 1]
    kept = np.concatenate(arcs)
    return replace(
        lattice,
        source=np.concatenate(sources),
        target=np.concatenate(targets),
        frame=lattice.frame[kept],
        unit=lattice.unit[kept],
        words=lattice.words[kept],
        begun=lattice.begun[kept],
        acoustic=lattice.acoustic[kept],
        graph=lattice.graph[kept] + np.concatenate(graph),
    )


def follow(
    model: LanguageModel, spelling: Mapping[int, str], contexts: Ints, words: Ints, final: np.ndarray
) -> tuple[Ints, Floats]:
    """The model's states (A,) after each arc's words (A, K), or after the sentence's end; and the scores (A,)."""
    contexts, scores = contexts.copy(), np.zeros(len(contexts))
    for column in words.T:
        step(model, spelling, contexts, scores, np.flatnonzero(column), column)
    step(model, {FINAL: END}, contexts, scores, np.flatnonzero(final), np.full(len(contexts), FINAL))
    contexts[final] = 0  # all that has ended is one state
    return contexts, scores


def step(
    model: LanguageModel, spelling: Mapping[int, str], contexts: Ints, scores: Floats, rows: Ints, words: Ints
) -> None:
    """Extend the contexts of some rows by their words, in place."""
    if len(rows) == 0:
        return
    pairs, place = np.unique(np.stack([contexts[rows], words[rows]], axis=1), axis=0, return_inverse=True)
    found = [model.extend(int(context), spelling[int(word)]) for context, word in pairs]
    contexts[rows] = np.array([number for number, _ in found], dtype=np.int64)[place.ravel()]
    scores[rows] += np.array([score for _, score in found])[place.ravel()]

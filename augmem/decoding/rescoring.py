"""Rescoring: the first-pass LM is replaced by a larger n-gram model, in lattices and in sentences.

The lattice is traversed frame by frame together with the states of the language models (on-the-fly composition, Ljolje
et al. 1999): each pair of lattice state and model state is a state of the new lattice. KenLM states are minimal, so
paths merge as early as possible.

The difference of both models is added to the graph score, as in Kaldi. Pronunciation and silence scores are kept, and
so are the weights of duplicate paths: a back-off grammar in a graph is ambiguous (see `nbest`), and duplicates of equal
weight would count a path several times.

Letters: A arcs, N active states of a frame.
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
from augmem.errors import UserError
from augmem.lang import END

MIN_LOG10 = -7.0  # log10 probability of a word without a score, in models without a word for unknown words
_SHIFT = 32  # bits of the lower half of a combined key
_MAX_CACHED = 200_000  # cached transitions of a model; about 300 bytes each


class TooLarge(Exception):  # noqa: N818 - describes a lattice; not an error
    """A lattice has too many arcs with the rescoring LM."""


class LanguageModel:
    """Scores of words given a state. States are integers, 0 is the begin of the sentence. Transitions are cached.

    Args:
        beginning: initial state in the model's own representation.
    """

    def __init__(self, beginning: Any) -> None:
        self.states = [beginning]
        self.numbers = {beginning: 0}
        self.transitions: dict[tuple[int, str], tuple[int, float]] = {}

    def extend(self, state: int, word: str) -> tuple[int, float]:
        """Return the next state and the score of a word, a natural logarithm."""
        found = self.transitions.get((state, word))
        if found is None:
            after, score = self._follow(self.states[state], word)
            number = self.numbers.setdefault(after, len(self.states))
            if number == len(self.states):
                self.states.append(after)
            found = self.transitions[state, word] = number, score
        return found

    def limit_cache(self) -> None:
        """Clear the cache if it is large. State numbers become invalid, so call it between utterances."""
        if len(self.transitions) > _MAX_CACHED:
            self.states, self.transitions = self.states[:1], {}
            self.numbers = {self.states[0]: 0}

    def _follow(self, state: Any, word: str) -> tuple[Any, float]:
        """Return the next state in the model's own representation, and the score."""
        raise NotImplementedError

    def sentence(self, words: Sequence[str]) -> float:
        """Score words and the end of the sentence."""
        state, total = 0, 0.0
        for word in (*words, END):
            state, score = self.extend(state, word)
            total += score
        return total


class NgramModel(LanguageModel):
    """An n-gram model; the score of a word is log p(word | state).

    Args:
        arpa: ARPA file, or a binary file of KenLM.

    Raises:
        UserError: the file is not an n-gram model.
    """

    def __init__(self, arpa: Path) -> None:
        settings = kenlm.Config()
        settings.show_progress, settings.arpa_complain = False, kenlm.ARPALoadComplain.NONE
        try:
            self.model = kenlm.Model(str(arpa), settings)
        except (OSError, RuntimeError) as error:
            raise UserError(f"{arpa}: not an n-gram model ({error}); run stage lm again") from error
        beginning = kenlm.State()
        self.model.BeginSentenceWrite(beginning)
        super().__init__(beginning)
        self.unseen: Counter[str] = Counter()

    def _follow(self, state: Any, word: str) -> tuple[Any, float]:
        after = kenlm.State()
        score = self.model.BaseScore(state, word, after)
        if word not in self.model:
            self.unseen[word] += 1
        return after, max(score, MIN_LOG10) * math.log(10)


class ModelExchange(LanguageModel):
    """Replaces one model by another: the score of a word is the larger model's minus the smaller model's.

    Args:
        smaller: model to be replaced.
        larger: model that replaces it.
    """

    def __init__(self, smaller: LanguageModel, larger: LanguageModel) -> None:
        super().__init__((0, 0))
        self.smaller, self.larger = smaller, larger

    def limit_cache(self) -> None:
        """Clear the caches of all models if one of them is large."""
        if len(self.transitions) > _MAX_CACHED:
            super().limit_cache()
            self.smaller.limit_cache()
            self.larger.limit_cache()

    def _follow(self, state: tuple[int, int], word: str) -> tuple[tuple[int, int], float]:
        smaller, before = self.smaller.extend(state[0], word)
        larger, after = self.larger.extend(state[1], word)
        return (smaller, larger), after - before


def rescore_lattice(lattice: Lattice, model: LanguageModel, words: Mapping[int, str], max_arcs: int) -> Lattice:
    """Add the scores of a model to the graph scores of all paths.

    Args:
        words: word id -> word.
        max_arcs: maximum number of arcs of the new lattice.

    Raises:
        TooLarge: there would be more.
    """
    arcs, sources, targets, graph = [], [], [], []
    state, context = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)  # (N,) of the lattice and of the model
    first = count = 0  # number of the first active state; arcs so far
    for frame in lattice.frames():
        leaving = lattice.arc_splits[state + 1] - lattice.arc_splits[state]
        arc, row = ranges(lattice.arc_splits[state], leaving), np.repeat(np.arange(len(state)), leaving)
        count += len(arc)
        if count > max_arcs:
            raise TooLarge(f"more than {max_arcs} arcs after {frame} of {lattice.num_frames} frames")
        reached, scores = follow(model, words, context[row], lattice.words[arc], lattice.unit[arc] == FINAL)
        keys, target = np.unique((lattice.target[arc] << _SHIFT) | reached, return_inverse=True)
        arcs.append(arc)
        sources.append(first + row)
        first += len(state)
        targets.append(first + target)
        graph.append(scores)
        state, context = keys >> _SHIFT, keys & ((1 << _SHIFT) - 1)
    kept = np.concatenate(arcs)
    return replace(
        lattice,
        source=np.concatenate(sources),
        target=np.concatenate(targets),
        frame=lattice.frame[kept],
        unit=lattice.unit[kept],
        words=lattice.words[kept],
        word_starts=lattice.word_starts[kept],
        acoustic=lattice.acoustic[kept],
        graph=lattice.graph[kept] + np.concatenate(graph),
    )


def follow(
    model: LanguageModel, word_of: Mapping[int, str], contexts: Ints, words: Ints, final: np.ndarray
) -> tuple[Ints, Floats]:
    """Extend contexts (A,) by the words (A, K) of their arcs, or by the end of the sentence.

    Args:
        model: language model.
        word_of: word of each id.
        contexts: (A,) context of each arc.
        words: (A, K) word ids of each arc, padded with 0.
        final: (A,) bool, whether the sentence ends with the arc.

    Returns:
        the new contexts (A,) and the scores (A,).
    """
    contexts, scores = contexts.copy(), np.zeros(len(contexts))
    for column in words.T:
        extend_rows(model, word_of, contexts, scores, np.flatnonzero(column), column)
    extend_rows(model, {FINAL: END}, contexts, scores, np.flatnonzero(final), np.full(len(contexts), FINAL))
    contexts[final] = 0  # complete sentences share one state
    return contexts, scores


def extend_rows(
    model: LanguageModel, word_of: Mapping[int, str], contexts: Ints, scores: Floats, rows: Ints, words: Ints
) -> None:
    """Extend the contexts of some rows by their words, in place.

    Args:
        model: language model.
        word_of: word of each id.
        contexts: (A,) contexts, changed in place.
        scores: (A,) scores, changed in place.
        rows: (R,) rows to extend.
        words: (R,) word id of each of these rows.
    """
    if len(rows) == 0:
        return
    keys, place = np.unique((contexts[rows] << _SHIFT) + words[rows] + 1, return_inverse=True)  # FINAL is -1
    pairs = zip((keys >> _SHIFT).tolist(), (keys & ((1 << _SHIFT) - 1)).tolist(), strict=True)
    found = [model.extend(context, word_of[word - 1]) for context, word in pairs]
    contexts[rows] = np.array([number for number, _ in found], dtype=np.int64)[place]
    scores[rows] += np.array([score for _, score in found])[place]

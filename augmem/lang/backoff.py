"""Back-off n-gram models as arrays: scoring, restriction to a vocabulary, pruning by relative entropy.

Letters: n n-grams of one order, o order, W words. Logarithms have base 10, as in ARPA files.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from augmem.errors import UserError

START, END = "<s>", "</s>"
UNKNOWN_WORDS = ("<UNK>", "<unk>")
MARKS = (START, END, *UNKNOWN_WORDS)

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_LN10 = math.log(10)
_SMALLEST = 1e-10  # smaller remaining mass is a rounding error of the file's decimals


@dataclass(frozen=True)
class Level:
    """All n-grams of one order, sorted by the row of their history one level below, then by word id.

    Attributes:
        ids: word ids, (n, o).
        logprob: log10 probabilities, (n,).
        backoff: log10 back-off weights, (n,); 0 where the file lists none.
        histories: row of each history in the level below, (n,); 0 for 1-grams.
    """

    ids: Ids
    logprob: Floats
    backoff: Floats
    histories: Ids


class BackoffModel:
    """A back-off n-gram model.

    Attributes:
        words: the 1-grams, in the order of their ids.
        levels: the n-grams of each order, 1-grams first.

    Example:
        >>> words = ["<s>", "</s>", "A"]
        >>> unigrams = (np.array([[0], [1], [2]]), np.log10([1e-99, 0.5, 0.5]), np.zeros(3))
        >>> bigrams = (np.array([[0, 2]]), np.array([-0.1]), np.zeros(1))
        >>> model = BackoffModel.build(words, [unigrams, bigrams])
        >>> model.score(np.array([[0, 2], [2, 2]])).round(1).tolist()
        [-0.1, -0.3]
    """

    def __init__(self, words: Sequence[str], levels: Sequence[Level]) -> None:
        self.words, self.levels = list(words), list(levels)
        self._keys = [level.histories * len(self.words) + level.ids[:, -1] for level in self.levels]

    @classmethod
    def build(cls, words: Sequence[str], ngrams: Sequence[tuple[Ids, Floats, Floats]]) -> BackoffModel:
        """Make a model of (ids, logprob, backoff) for each order, in any order of rows.

        N-grams whose history is not listed are left out: no back-off walk reaches them.
        """
        model = cls(words, [])
        for ids, logprob, backoff in ngrams:
            histories = model.find(ids[:, :-1]) if ids.shape[1] > 1 else np.zeros(len(ids), np.int64)
            order = np.lexsort((ids[:, -1], histories))
            order = order[histories[order] >= 0]
            level = Level(ids[order], logprob[order], backoff[order], histories[order])
            model = cls(words, [*model.levels, level])
        return model

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of n-grams of each order."""
        return tuple(len(level.ids) for level in self.levels)

    def count_ngrams_outside(self, vocabulary: Container[str]) -> int:
        """Count the n-grams with a word outside a vocabulary, except sentence marks and <unk>."""
        known = np.array([word in vocabulary or word in MARKS for word in self.words])
        return sum(int((~known[level.ids].all(axis=1)).sum()) for level in self.levels)

    def find(self, ids: Ids) -> Ids:
        """Return the rows of n-grams (n, o) in their level, -1 where they are not listed."""
        rows = np.zeros(len(ids), np.int64)
        for order in range(ids.shape[1]):
            rows = self._find_extension(order, rows, ids[:, order])
        return rows

    def _find_extension(self, order: int, histories: Ids, words: Ids) -> Ids:
        keys = np.where(histories >= 0, histories * len(self.words) + words, -1)
        known = self._keys[order]
        rows = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        return np.where(known[rows] == keys, rows, -1)

    def score(self, ids: Ids) -> Floats:
        """Return log10 p(last word | words before it) of n-grams (n, o), backing off where they are not listed."""
        rows = self.find(ids)
        level = self.levels[ids.shape[1] - 1]
        scores = level.logprob[rows]
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            histories = self.find(ids[missing, :-1])
            weights = np.where(histories >= 0, self.levels[ids.shape[1] - 2].backoff[histories], 0.0)
            scores[missing] = weights + self.score(ids[missing, 1:])
        return scores

    def renormalise(self) -> BackoffModel:
        """Return the model with back-off weights that make the probabilities after each history sum to one."""
        model = BackoffModel(self.words, [replace(level, backoff=np.zeros(len(level.ids))) for level in self.levels])
        for order in range(1, len(model.levels)):
            upper, lower = model.levels[order], model.levels[order - 1]
            left, below = model._remaining(order)
            has = np.bincount(upper.histories, minlength=len(lower.ids)) > 0
            weights = np.where(has, np.log10(left / below), 0.0)
            model.levels[order - 1] = replace(lower, backoff=weights)
        return model

    def _remaining(self, order: int) -> tuple[Floats, Floats]:
        """Mass that each history leaves for back-off, and that its listed words leave one order below."""
        upper, size = self.levels[order], len(self.levels[order - 1].ids)
        listed = np.bincount(upper.histories, 10**upper.logprob, size)
        below = np.bincount(upper.histories, 10 ** self.score(upper.ids[:, 1:]), size)
        return np.maximum(1 - listed, _SMALLEST), np.maximum(1 - below, _SMALLEST)

    def importances(self) -> list[Floats]:
        """Compute the relative increase of the model's own perplexity if an n-gram is removed, for each n-gram.

        An n-gram that is the history of others has at least the highest value of these; 1-grams have infinity.
        Source: Stolcke (1998), Entropy-based Pruning of Backoff Language Models.
        """
        found = [np.full(len(self.levels[0].ids), np.inf)]
        found += [self._own_importances(order) for order in range(1, len(self.levels))]
        for order in range(len(found) - 1, 0, -1):
            np.maximum.at(found[order - 1], self.levels[order].histories, found[order])
        return found

    def _own_importances(self, order: int) -> Floats:
        level = self.levels[order]
        p, q = level.logprob * _LN10, self.score(level.ids[:, 1:]) * _LN10
        left, below = (mass[level.histories] for mass in self._remaining(order))
        change = np.log((left + np.exp(p)) / (below + np.exp(q)))
        divergence = np.exp(p) * (p - q - change) - left * (change - np.log(left / below))
        probability = 10 ** self._history_logprob(self.levels[order - 1].ids)[level.histories]
        return np.expm1(probability * divergence)

    def _history_logprob(self, ids: Ids) -> Floats:
        """log10 p(history); as many sentences start as end."""
        start, end = self.words.index(START), self.words.index(END)
        ids = np.where(ids == start, end, ids)
        return sum((self.score(ids[:, : length + 1]) for length in range(ids.shape[1])), np.zeros(len(ids)))

    def select(self, masks: Sequence[Mask]) -> BackoffModel:
        """Return a model of the n-grams under masks (one of each order, the first of which keeps all words)."""
        ngrams = [
            (level.ids[mask], level.logprob[mask], level.backoff[mask])
            for level, mask in zip(self.levels, masks, strict=True)
        ]
        return BackoffModel.build(self.words, ngrams)

    def prune(self, threshold: float = 0.0, max_ngrams: int = 0) -> BackoffModel:
        """Return the model without its least important n-grams; words and the histories of other n-grams stay.

        Args:
            threshold: importance below which n-grams are removed; 0 removes none, 1e-9 is mild, 1e-6 is strong.
            max_ngrams: number of n-grams of all orders to keep at most; 0 sets no limit.
        """
        if not threshold and not 0 < max_ngrams < sum(self.counts):
            return self
        found = self.importances()
        if 0 < max_ngrams < sum(self.counts):
            largest_removed = np.sort(np.concatenate(found))[-max_ngrams - 1]
            threshold = max(threshold, float(np.nextafter(largest_removed, np.inf)))
        return self.select([values >= threshold for values in found]).renormalise()

    def restrict(self, vocabulary: set[str]) -> BackoffModel:
        """Return the model without n-grams that contain other words; sentence marks and <unk> stay.

        The probability of the removed words goes to the words that remain, in proportion.
        """
        kept = np.array([word in vocabulary or word in MARKS for word in self.words])
        number = np.cumsum(kept) - 1
        ngrams = []
        for level in self.levels:
            mask = kept[level.ids].all(axis=1)
            ngrams.append((number[level.ids[mask]], level.logprob[mask], level.backoff[mask]))
        words = [word for word, keep in zip(self.words, kept, strict=True) if keep]
        return BackoffModel.build(words, [_scale(ngrams[0], words), *ngrams[1:]]).renormalise()

    def add_words(self, weights: Mapping[str, float]) -> BackoffModel:
        """Return the model with new or more probable words.

        A new word has the average probability of a word as a 1-gram, and no longer n-grams. The probabilities of all
        other words decrease in proportion.

        Args:
            weights: word -> factor on its 1-gram probability.
        """
        words = list(dict.fromkeys([*self.words, *weights]))
        number = {word: index for index, word in enumerate(words)}
        unigrams, new = self.levels[0], len(words) - len(self.words)
        logprob = np.concatenate([unigrams.logprob, np.full(new, -math.log10(len(self.words)))])
        for word, weight in weights.items():
            logprob[number[word]] += math.log10(weight)
        first = (np.arange(len(words))[:, None], logprob, np.concatenate([unigrams.backoff, np.zeros(new)]))
        higher = [(level.ids, level.logprob, level.backoff) for level in self.levels[1:]]
        return BackoffModel.build(words, [_scale(first, words), *higher]).renormalise()

    def change_case(self, case: Literal["upper", "lower"]) -> BackoffModel:
        """Return the model with its words in upper or lower case.

        Raises:
            UserError: two words become one.
        """
        words = [word if word in MARKS else getattr(word, case)() for word in self.words]
        if len(set(words)) < len(words):
            twice = sorted(word for word, count in Counter(words).items() if count > 1)
            examples = ", ".join(twice[:3])
            fault = f"{len(twice)} words are not unique in {case} case ({examples}, ...)"
            raise UserError(f"{fault}: train the model again")
        return BackoffModel(words, self.levels)

    def round(self, decimals: int) -> BackoffModel:
        """Return the model with rounded logarithms; back-off weights are computed from the rounded probabilities.

        Probabilities are rounded to nearest. After histories that would lose half of their back-off mass by that,
        they are rounded down, so that unlisted words stay possible.
        """
        nearest = [replace(level, logprob=level.logprob.round(decimals)) for level in self.levels]
        model = BackoffModel(self.words, nearest)
        for order in range(1, len(self.levels)):
            lost = model._remaining(order)[0] < self._remaining(order)[0] / 2
            level = model.levels[order]
            lower = np.floor(self.levels[order].logprob * 10**decimals) / 10**decimals
            logprob = np.where(lost[level.histories], lower, level.logprob)
            model.levels[order] = replace(level, logprob=logprob)
        model = model.renormalise()
        return BackoffModel(
            self.words, [replace(level, backoff=level.backoff.round(decimals)) for level in model.levels]
        )


def _scale(unigrams: tuple[Ids, Floats, Floats], words: Sequence[str]) -> tuple[Ids, Floats, Floats]:
    """Normalise the 1-grams, without <s>."""
    ids, logprob, backoff = unigrams
    predicted = np.array([words[index] != START for index in ids[:, 0]])
    total = np.log10((10 ** logprob[predicted]).sum())
    return ids, np.where(predicted, logprob - total, logprob), backoff

"""Language models biased to one text: what a recording with that text contains, in its order, with gaps and additions.

Absolute discounting of the 3-grams of the text. An utterance can begin and end at any word; words that are not in the
text are <UNK>.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from augmem.lang.backoff import END, START, BackoffModel
from augmem.lang.lexicon import OOV_WORD

_DISCOUNT = 0.5
_SKIP = 0.2  # count of a pair of words with one word between them, which may be missing in the recording
_END, _UNKNOWN = 0.05, 0.02  # 1-gram probabilities
_IMPOSSIBLE = -99.0
NgramCounts = Counter[tuple[str, ...]]
Weights = dict[tuple[str, ...], float]


def biased_model(words: Sequence[str]) -> BackoffModel:
    """Return a 3-gram model of a text.

    Args:
        words: the text, normalised; at least one word.

    Example:
        >>> model = biased_model("A ROSE IS A ROSE".split())
        >>> rose, a, end = (model.words.index(word) for word in ("ROSE", "A", "</s>"))
        >>> bool(model.score(np.array([[a, rose]]))[0] > model.score(np.array([[a, end]]))[0])
        True
    """
    unigrams = Counter(words)
    pairs: NgramCounts = Counter(pairwise(words))
    triples: NgramCounts = Counter(zip(words, words[1:], words[2:], strict=False))
    skips: Weights = {pair: _SKIP for pair in zip(words, words[2:], strict=False) if pair not in pairs}
    starts: Weights = {(START, word): count for word, count in unigrams.items()}
    first: Weights = {(START, *pair): count for pair, count in pairs.items()}
    names = [START, END, OOV_WORD, *dict.fromkeys(words)]
    number = {word: index for index, word in enumerate(names)}
    scale = (1 - _END - _UNKNOWN) / len(words)
    probabilities = [0.0, _END, _UNKNOWN, *(unigrams[word] * scale for word in names[3:])]
    levels = [
        (np.arange(len(names))[:, None], _log10(probabilities), np.zeros(len(names))),
        _level({**skips, **pairs, **starts}, number),
        _level({**triples, **first}, number),
    ]
    return BackoffModel.build(names, [level for level in levels if len(level[0])]).renormalise()


def _level(counts: dict[tuple[str, ...], float], number: dict[str, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ids, discounted log10 probabilities and back-off weights of the n-grams of one order."""
    totals: Weights = {}
    for ngram, count in counts.items():
        totals[ngram[:-1]] = totals.get(ngram[:-1], 0.0) + count
    ids = np.array([[number[word] for word in ngram] for ngram in counts], np.int64)
    discounted = (count * _DISCOUNT if count < 1 else count - _DISCOUNT for count in counts.values())
    shares = [count / totals[ngram[:-1]] for ngram, count in zip(counts, discounted, strict=True)]
    return ids, _log10(shares), np.zeros(len(counts))


def _log10(probabilities: Iterable[float]) -> np.ndarray:
    values = np.array(list(probabilities))
    return np.where(values > 0, np.log10(np.maximum(values, 1e-99)), _IMPOSSIBLE)

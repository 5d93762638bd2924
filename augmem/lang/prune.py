"""Relative-entropy pruning of back-off models (Stolcke 1998): drop what changes the distribution least."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from augmem.lang.arpa import END, START, ArpaModel, NGram, Weights

_LN10 = math.log(10)
_SMALLEST = 1e-10  # left-over mass below this is rounding of the file's six decimals


def prune(model: ArpaModel, threshold: float) -> ArpaModel:
    """Drop each n-gram whose loss raises the model's own perplexity by less than `threshold` (relative).

    Words (1-grams) and the histories of n-grams that stay are kept. Back-off weights are computed anew: the
    result sums to one over the vocabulary for every history. Typical thresholds are 1e-9 (mild) to 1e-6.
    """
    kept = dict(model.ngrams)
    needed: set[NGram] = set()
    for order in range(model.order, 1, -1):
        for history, words in _by_history(kept, order).items():
            dropped = {(*history, word) for word in _droppable(model, history, words, threshold)}
            for ngram in dropped - needed:
                del kept[ngram]
        needed = {ngram[:-1] for ngram in kept if len(ngram) == order}
    return renormalise(kept, model.order)


def _by_history(ngrams: dict[NGram, Weights], order: int) -> dict[NGram, list[str]]:
    groups: dict[NGram, list[str]] = defaultdict(list)
    for ngram in ngrams:
        if len(ngram) == order:
            groups[ngram[:-1]].append(ngram[-1])
    return groups


def _droppable(model: ArpaModel, history: NGram, words: Sequence[str], threshold: float) -> list[str]:
    """Words that may back off from `history` at little cost, each judged as if it alone went."""
    ln_p = [model.logprob(word, history) * _LN10 for word in words]
    ln_q = [model.logprob(word, history[1:]) * _LN10 for word in words]
    left = max(1 - math.fsum(map(math.exp, ln_p)), _SMALLEST)
    left_below = max(1 - math.fsum(map(math.exp, ln_q)), _SMALLEST)
    ln_backoff = math.log(left / left_below)
    history_probability = 10 ** _history_logprob(model, history)
    found = []
    for word, p, q in zip(words, ln_p, ln_q, strict=True):
        new_backoff = math.log((left + math.exp(p)) / (left_below + math.exp(q)))
        divergence = math.exp(p) * (p - q - new_backoff) - left * (new_backoff - ln_backoff)
        if math.expm1(history_probability * divergence) < threshold:
            found.append(word)
    return found


def _history_logprob(model: ArpaModel, history: NGram) -> float:
    """log10 p(history); a sentence starts as often as one ends."""
    words = [END if word == START else word for word in history[:1]] + list(history[1:])
    return sum(model.logprob(word, history[:index]) for index, word in enumerate(words))


def renormalise(ngrams: dict[NGram, Weights], order: int) -> ArpaModel:
    """Give every history the back-off weight that makes its probabilities sum to one; shorter ones first."""
    counts = tuple(sum(len(ngram) == length for ngram in ngrams) for length in range(1, order + 1))
    model = ArpaModel(dict(ngrams), counts)
    for ngram, weights in ngrams.items():
        model.ngrams[ngram] = Weights(weights.logprob, 0.0)
    for length in range(2, order + 1):
        for history, words in _by_history(model.ngrams, length).items():
            listed = [model.ngrams[history + (word,)] for word in words]  # noqa: RUF005 - mypy's 3.10 grammar
            left = 1 - math.fsum(10**weights.logprob for weights in listed)
            below = 1 - math.fsum(10 ** model.logprob(word, history[1:]) for word in words)
            backoff = math.log10(max(left, _SMALLEST) / max(below, _SMALLEST))
            model.ngrams[history] = Weights(model.ngrams[history].logprob, backoff)
    return model

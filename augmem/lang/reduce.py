"""Reduction of large language models, and the lexicon of their words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from augmem.errors import UserError
from augmem.lang.backoff import UNKNOWN_WORDS, BackoffModel
from augmem.lang.config import LangConfig
from augmem.lang.g2p import default_cache, guess_pronunciations
from augmem.lang.lexicon import Entry, load_cmudict
from augmem.lang.vocabulary import word_counts


def prune_model(
    model: BackoffModel, vocabulary: str | None, threshold: float, max_ngrams: int, decimals: int
) -> BackoffModel:
    """Restrict a model to a vocabulary, prune it by relative entropy and round its logarithms.

    Args:
        vocabulary: a number of words to keep, the most probable ones, or a file of words; None keeps all.
        threshold: see `BackoffModel.prune`.
        max_ngrams: see `BackoffModel.prune`.
        decimals: number of decimals of log10 values.

    Raises:
        UserError: the model has none of the words.
    """
    if vocabulary:
        model = model.restrict(choose_vocabulary(model, vocabulary))
    return model.prune(threshold, max_ngrams).round(decimals)


def choose_vocabulary(model: BackoffModel, vocabulary: str) -> set[str]:
    """Return the `vocabulary` most probable words of a model, or the words of a file that the model has.

    Raises:
        UserError: it is neither a number nor a file.
    """
    if vocabulary.isdecimal():
        order = np.argsort(-model.levels[0].logprob, kind="stable")
        words = [word for word in map(model.words.__getitem__, order.tolist()) if not word.startswith("<")]
        return set(words[: int(vocabulary)])
    found = set(word_counts(Path(vocabulary))).intersection(model.words)
    if not found:
        raise UserError(f"{vocabulary}: the language model has none of its words; use the spelling of the model")
    return found


def make_lexicon(words: Iterable[str], texts: Sequence[Path]) -> list[Entry]:
    """Return the pronunciations of words and of the words of text files: from the CMU dictionary, else by G2P."""
    dictionary = load_cmudict()
    wanted = {word for word in words if not word.startswith("<")}.union(*map(word_counts, texts)) - set(UNKNOWN_WORDS)
    missing = sorted(wanted - dictionary.keys())
    guesses, _ = guess_pronunciations(missing, dictionary, default_cache(), LangConfig().g2p_training_entries)
    known = [(word, phones) for word in wanted & dictionary.keys() for phones in dictionary[word]]
    return sorted(known, key=lambda entry: entry[0]) + [(guess.word, guess.phones) for guess in guesses]

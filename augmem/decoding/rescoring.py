"""A second opinion on n-best lists: the exact score of every hypothesis under a larger n-gram model.

Only the n-grams that the lists can ask for are read into memory, so the size of the model does not matter.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from augmem.decoding.records import NbestEntry, read_nbest, write_nbest
from augmem.lang.arpa import END, START, ArpaModel, arpa_order, needed_ngrams, read_arpa

logger = logging.getLogger(__name__)

UNSEEN = -7.0  # log10 of a word the model has no score for at all, and no word for the unknown either


class SentenceScorer:
    """Natural log-probabilities of whole sentences, their end included, by the true back-off walk."""

    def __init__(self, model: ArpaModel) -> None:
        self.model = model
        self.unseen: Counter[str] = Counter()
        self.history = model.order - 1
        self.logprob = lru_cache(maxsize=1_000_000)(self._logprob)

    def score(self, words: Sequence[str]) -> float:
        """log p(words, end); words the model lacks are scored as its word for the unknown."""
        known = [START, *(self.known(word) for word in words), END]
        total = sum(self.logprob(known[n], tuple(known[max(0, n - self.history) : n])) for n in range(1, len(known)))
        return total * math.log(10)

    def known(self, word: str) -> str:
        """The word, or what the model has for words it does not know."""
        if (word,) in self.model.ngrams:
            return word
        self.unseen[word] += 1
        return self.model.unknown_word or word

    def _logprob(self, word: str, history: tuple[str, ...]) -> float:
        return self.model.logprob(word, history) if (word,) in self.model.ngrams else UNSEEN


def rescore_parts(decode_dir: Path, parts: Sequence[str], arpa: Path) -> None:
    """Fill in lm_rescore of every hypothesis in the parts' n-best files.

    Raises:
        FileNotFoundError, ValueError: the model cannot be read; the message names file and line.
    """
    entries = {part: list(read_nbest(decode_dir / part)) for part in parts}
    order = arpa_order(arpa)
    logger.info("rescoring with %s (order %d)", arpa, order)
    needed = needed_ngrams(sentences(entry for listed in entries.values() for entry in listed), order)
    scorer = SentenceScorer(read_arpa(arpa, needed))
    for part, listed in entries.items():
        write_nbest(decode_dir / part, [rescored(entry, scorer) for entry in listed])
    if scorer.unseen:
        examples = ", ".join(word for word, _ in scorer.unseen.most_common(10))
        logger.warning("%s lacks %d words of the hypotheses: %s", arpa, len(scorer.unseen), examples)


def rescored(entry: NbestEntry, scorer: SentenceScorer) -> NbestEntry:
    """The same list with the model's scores."""
    listed = [replace(h, lm_rescore=round(scorer.score(h.words), 4)) for h in entry.hypotheses]
    return replace(entry, hypotheses=tuple(listed))


def sentences(entries: Iterable[NbestEntry]) -> Iterable[str]:
    """The hypotheses as texts."""
    return (" ".join(hypothesis.words) for entry in entries for hypothesis in entry.hypotheses)

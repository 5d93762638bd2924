"""Entropy pruning against the divergence summed word by word over all histories."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from augmem.lang import ArpaModel, LmConfig, prepare_language_models, read_arpa
from augmem.lang.arpa import END, START
from augmem.lang.prune import prune, renormalise


@pytest.fixture(scope="module")
def model(lang_dir: Path, train_texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> ArpaModel:
    folder = tmp_path_factory.mktemp("lm")
    prepare_language_models(LmConfig(first_pass_pruning=0), train_texts, {}, lang_dir, folder)
    return read_arpa(folder / "first_pass.arpa")


def words_of(model: ArpaModel) -> list[str]:
    return [ngram[0] for ngram in model.ngrams if len(ngram) == 1 and ngram[0] != START]


def relative_rise(model: ArpaModel, other: ArpaModel, history: tuple[str, ...]) -> float:
    """By how much `other` raises perplexity on `model`'s own text, if they differ after `history` only."""
    chain = [END if word == START else word for word in history]
    probability = 10 ** sum(model.logprob(word, history[:i]) for i, word in enumerate(chain))
    divergence = 0.0
    for word in words_of(model):
        p, q = model.logprob(word, history), other.logprob(word, history)
        divergence += 10**p * (p - q) * math.log(10)
    return math.expm1(probability * divergence)


def test_exactly_the_trigrams_below_the_threshold_go(model: ArpaModel) -> None:
    threshold = 3e-5
    kept = prune(model, threshold).ngrams.keys()
    trigrams = [ngram for ngram in model.ngrams if len(ngram) == 3]
    judged = 0
    for ngram in trigrams[:: len(trigrams) // 60]:
        without = {other: weights for other, weights in model.ngrams.items() if other != ngram}
        rise = relative_rise(model, renormalise(without, model.order), ngram[:2])
        if abs(rise / threshold - 1) > 0.02:  # the file's six decimals blur the border
            assert (ngram in kept) == (rise > threshold)
            judged += 1
    assert judged > 40


def test_pruned_models_are_smaller_and_sum_to_one(model: ArpaModel, dev_texts: dict[str, list[str]]) -> None:
    sizes, fits = [len(model.ngrams)], [model.perplexity(dev_texts["near"]).value]
    for threshold in (1e-6, 1e-4, 1e-2):
        pruned = prune(model, threshold)
        sizes.append(sum(pruned.counts))
        fits.append(pruned.perplexity(dev_texts["near"]).value)
        words = words_of(pruned)
        assert set(words) == set(words_of(model))
        for history in [ngram for ngram in pruned.ngrams if len(ngram) < 3 and ngram[-1] != END][::20]:
            assert sum(10 ** pruned.logprob(word, history) for word in words) == pytest.approx(1, abs=1e-4)
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) > 2
    assert fits[1] == pytest.approx(fits[0], rel=0.01)


def test_histories_of_what_stays_are_kept(model: ArpaModel) -> None:
    kept = prune(model, 1e-4).ngrams
    assert all(ngram[:-1] in kept for ngram in kept if len(ngram) > 1)

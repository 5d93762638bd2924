"""Back-off models as arrays: scores against KenLM, pruning against the divergence summed over all words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import kenlm
import numpy as np
import pytest

from augmem.lang import LmConfig, prepare_language_models, read_arpa, write_arpa
from augmem.lang.backoff import BackoffModel


@pytest.fixture(scope="module")
def arpa(lang_dir: Path, train_texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lm")
    prepare_language_models(LmConfig(first_pass_pruning=0), train_texts, {}, lang_dir, folder)
    return folder / "first_pass.arpa"


@pytest.fixture(scope="module")
def model(arpa: Path) -> BackoffModel:
    return read_arpa(arpa)


def words_of(model: BackoffModel) -> list[int]:
    return [index for index, word in enumerate(model.words) if word != "<s>"]


def score(model: BackoffModel, words: Sequence[int]) -> float:
    return float(model.score(np.array([words]))[0])


def probabilities(model: BackoffModel, history: Sequence[int]) -> np.ndarray:
    words = words_of(model)
    return 10 ** model.score(np.array([[*history, word] for word in words]))


def relative_rise(model: BackoffModel, other: BackoffModel, history: Sequence[int]) -> float:
    """Rise of perplexity on the model's own text if the models differ after one history only."""
    start, end = model.words.index("<s>"), model.words.index("</s>")
    chain = [end if word == start else word for word in history]
    probability = 10 ** sum(score(model, chain[: i + 1]) for i in range(len(chain)))
    p, q = probabilities(model, history), probabilities(other, history)
    return math.expm1(probability * float(np.sum(p * np.log(p / q))))


def test_sentence_scores_equal_kenlms(arpa: Path, model: BackoffModel, dev_texts: dict[str, list[str]]) -> None:
    reference = kenlm.Model(str(arpa))
    numbers = {word: index for index, word in enumerate(model.words)}
    for text in dev_texts["near"]:
        ids = [numbers[word] for word in ("<s>", *text.split(), "</s>")]
        total = sum(score(model, ids[max(0, end - 3) : end]) for end in range(2, len(ids) + 1))
        assert total == pytest.approx(reference.score(text), abs=1e-4)


def test_the_trigrams_below_the_threshold_are_removed(model: BackoffModel) -> None:
    threshold = 3e-5
    kept = model.prune(threshold)
    trigrams = model.levels[2].ids
    compared = 0
    for row in range(0, len(trigrams), len(trigrams) // 60):
        masks = [np.ones(count, bool) for count in model.counts]
        masks[2][row] = False
        rise = relative_rise(model, model.select(masks).renormalise(), trigrams[row, :2].tolist())
        if abs(rise / threshold - 1) > 0.02:  # near the threshold the file's six decimals decide
            assert (kept.find(trigrams[row : row + 1])[0] >= 0) == (rise > threshold)
            compared += 1
    assert compared > 40


def test_pruned_models_are_smaller_and_sum_to_one(model: BackoffModel) -> None:
    sizes = [sum(model.counts)]
    for threshold in (1e-6, 1e-4, 1e-2):
        pruned = model.prune(threshold)
        sizes.append(sum(pruned.counts))
        assert pruned.words == model.words
        for level in pruned.levels[:2]:
            for history in level.ids[::20].tolist():
                assert probabilities(pruned, history).sum() == pytest.approx(1, abs=1e-4)
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) > 2


def test_histories_of_remaining_ngrams_remain(model: BackoffModel) -> None:
    pruned = model.prune(1e-4)
    for level in pruned.levels[1:]:
        assert (pruned.find(level.ids[:, :-1]) >= 0).all()


def test_a_limited_number_of_ngrams_is_kept_and_they_are_the_most_important(model: BackoffModel) -> None:
    limit = sum(model.counts) // 2
    pruned = model.prune(max_ngrams=limit)
    assert 0.98 * limit < sum(pruned.counts) <= limit
    importances = np.concatenate(model.importances()[1:])
    rows = np.concatenate([pruned.find(level.ids) >= 0 for level in model.levels[1:]])
    assert importances[rows].min() >= importances[~rows].max()


def test_a_restricted_model_has_the_vocabulary_and_sums_to_one(model: BackoffModel) -> None:
    vocabulary = set(model.words[:20]) - {"<UNK>"}
    small = model.restrict(vocabulary)
    assert set(small.words) == vocabulary | {"<s>", "</s>", "<UNK>"}
    for history in small.levels[1].ids[::7].tolist():
        assert probabilities(small, history).sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_writing_and_reading_returns_the_same_model(model: BackoffModel, tmp_path: Path, suffix: str) -> None:
    write_arpa(tmp_path / f"again.arpa{suffix}", model)
    again = read_arpa(tmp_path / f"again.arpa{suffix}")
    numbers = {word: index for index, word in enumerate(again.words)}
    assert again.counts == model.counts
    for level in model.levels:
        rows = again.find(np.array([[numbers[model.words[i]] for i in ids] for ids in level.ids.tolist()]))
        found = again.levels[level.ids.shape[1] - 1]
        np.testing.assert_allclose(found.logprob[rows], level.logprob, atol=1e-6)
        np.testing.assert_allclose(found.backoff[rows], level.backoff, atol=1e-6)


def test_a_model_of_few_decimals_still_sums_to_one_nearly(model: BackoffModel) -> None:
    rounded = model.round(1)
    sums = [probabilities(rounded, history).sum() for history in rounded.levels[1].ids[::9].tolist()]
    assert np.mean(sums) == pytest.approx(1, abs=0.02)


def test_rounding_leaves_unlisted_words_possible() -> None:
    """Listed probabilities of 0.95 together, which rounding to nearest would raise above 1."""
    words = ["<s>", "</s>", "A", "B"]
    unigrams = (np.arange(4)[:, None], np.log10([1e-99, 0.3, 0.3, 0.4]), np.zeros(4))
    bigrams = (np.array([[2, 1], [2, 2]]), np.log10([0.45, 0.5]), np.zeros(2))
    rounded = BackoffModel.build(words, [unigrams, bigrams]).renormalise().round(0)
    assert score(rounded, [2, 3]) > -2
    assert probabilities(rounded, [2]).sum() == pytest.approx(1, abs=0.7)

"""LSTM language model: scores against single steps, training, saving."""

from __future__ import annotations

import logging
import math
import random
from pathlib import Path

import pytest
import torch

from augmem.errors import UserError
from augmem.lang import NeuralLm, NeuralLmConfig
from augmem.lang.neural import END, train_neural

SMALL = NeuralLmConfig(epochs=12, dim=24, layers=2, dropout=0.1, learning_rate=0.02)
WORDS = ["<UNK>", "CAT", "DOG", "RUNS", "SLEEPS", "THE"]


def sentences(count: int, seed: int) -> list[str]:
    """Cats run and dogs sleep: the verb depends on a word that a bigram does not see."""
    rng = random.Random(seed)
    return [
        " ".join(["THE", animal, "THE", verb])
        for animal, verb in rng.choices([("CAT", "RUNS"), ("DOG", "SLEEPS")], k=count)
    ]


@pytest.fixture(scope="module")
def model() -> NeuralLm:
    return train_neural(SMALL, sentences(2000, 1), sentences(50, 2), WORDS)


def test_perplexity_is_below_that_of_any_bigram(model: NeuralLm) -> None:
    """One random choice per sentence: the optimum is exp(log 2 / 5). A bigram has two: exp(2 log 2 / 5)."""
    assert model.perplexity(sentences(100, 3)) < math.exp(1.5 * math.log(2) / 5)


def test_scores_equal_those_of_single_steps(model: NeuralLm) -> None:
    texts = [("THE", "CAT"), (), ("RUNS", "RUNS", "UNHEARD", "THE"), ("DOG",)]
    for words, found in zip(texts, model.log_probabilities(texts), strict=True):
        total, state, last = 0.0, None, model.ids[END]
        for word in (*words, END):
            with torch.no_grad():
                hidden, state = model.lstm(model.embedding(torch.tensor([[last]])), state)
                scores = (hidden[0, 0] @ model.embedding.weight.T + model.bias).double()
            last = model.ids.get(word, model.ids["<UNK>"])
            total += float(scores[last] - torch.logsumexp(scores, 0))
        assert found == pytest.approx(total, abs=1e-4)


def test_saved_and_loaded_models_have_equal_scores(model: NeuralLm, tmp_path: Path) -> None:
    model.save(tmp_path / "neural.safetensors")
    texts = [text.split() for text in sentences(5, 4)]
    assert NeuralLm.load(tmp_path / "neural.safetensors").log_probabilities(texts) == model.log_probabilities(texts)
    (tmp_path / "neural.safetensors").write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"neural\.safetensors: not a neural language model, or damaged"):
        NeuralLm.load(tmp_path / "neural.safetensors")


def test_the_same_seed_gives_the_same_model(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        first, second = (train_neural(SMALL, sentences(100, 1), sentences(9, 2), WORDS) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert "epoch 12 of 12: dev perplexity" in caplog.text

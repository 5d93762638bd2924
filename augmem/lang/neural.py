"""LSTM language model over words, for rescoring of n-best lists.

Source: Sundermeyer et al. (2012), LSTM Neural Networks for Language Modeling. Unknown words are <UNK>; a sentence
begins and ends with </s>.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from augmem.lang.backoff import END
from augmem.lang.config import LmConfig, NeuralLmConfig
from augmem.lang.lang import Lang
from augmem.lang.lexicon import OOV_WORD, SPECIAL_WORDS
from augmem.lang.ngram import read_sources
from augmem.tensors import TensorFormat, load_tensors, save_tensors

logger = logging.getLogger(__name__)

NEURAL_FILE = "neural.safetensors"
FILE_FORMAT = TensorFormat("augmem neural language model 1", "a neural language model", "run the stage lm again")
_CONFIG, _WORDS = "config", "words"  # names of texts in the file
TOKENS = 2000  # words of a batch, padding included


class NeuralLm(nn.Module):
    """Model of p(word | all words before it) with tied input and output embeddings (Press and Wolf, 2017).

    Args:
        words: the vocabulary, with </s> and <UNK>.

    Example:
        >>> model = NeuralLm(NeuralLmConfig(dim=8), ["</s>", "<UNK>", "A"])
        >>> model(torch.tensor([[0, 2]])).shape
        torch.Size([1, 2, 3])

    Shapes: N sentences, U words of the longest with its </s>, V words.
    """

    def __init__(self, config: NeuralLmConfig, words: Sequence[str]) -> None:
        super().__init__()
        self.config, self.words = config, tuple(words)
        self.ids = {word: index for index, word in enumerate(self.words)}
        self.embedding = nn.Embedding(len(self.words), config.dim)
        nn.init.normal_(self.embedding.weight, std=config.dim**-0.5)
        self.lstm = nn.LSTM(config.dim, config.dim, config.layers, batch_first=True, dropout=config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.bias = nn.Parameter(torch.zeros(len(self.words)))

    def forward(self, before: Tensor) -> Tensor:
        """Return unnormalised log-probabilities (N, U, V) of the word after each of `before` (N, U)."""
        hidden, _ = self.lstm(self.dropout(self.embedding(before)))
        scores: Tensor = self.dropout(hidden) @ self.embedding.weight.T + self.bias
        return scores

    def losses(self, sentences: Sequence[Sequence[str]]) -> Tensor:
        """Return -log p(words, end of sentence) of each sentence (N,)."""
        unknown, end = self.ids[OOV_WORD], self.ids[END]
        rows = [torch.tensor([self.ids.get(word, unknown) for word in (*words, END)]) for words in sentences]
        after = pad_sequence(rows, batch_first=True, padding_value=-1)
        before = pad(after, (1, 0), value=end)[:, :-1].clamp(min=0)
        scores = self(before).flatten(0, 1)
        return cross_entropy(scores, after.flatten(), ignore_index=-1, reduction="none").view(after.shape).sum(dim=1)

    def log_probabilities(self, sentences: Sequence[Sequence[str]]) -> list[float]:
        """Return log p(words, end of sentence) of each sentence (natural logarithm)."""
        found = torch.zeros(len(sentences))
        with torch.no_grad():
            for batch in batches(sentences):
                found[batch] = -self.losses([sentences[index] for index in batch])
        return found.tolist()

    def perplexity(self, texts: Sequence[str]) -> float:
        """Return the perplexity of sentences; unknown words and sentence ends are counted."""
        sentences = [text.split() for text in texts]
        return math.exp(-sum(self.log_probabilities(sentences)) / sum(len(words) + 1 for words in sentences))

    def save(self, path: Path) -> None:
        """Write the model to a file."""
        texts = {_CONFIG: json.dumps(asdict(self.config)), _WORDS: json.dumps(self.words)}
        save_tensors(path, FILE_FORMAT, self.state_dict(), texts)

    @staticmethod
    def load(path: Path) -> NeuralLm:
        """Read a model in evaluation mode.

        Raises:
            UserError: the file was not written by `save`.
        """
        weights, texts = load_tensors(path, FILE_FORMAT)
        with FILE_FORMAT.explain(path):
            config, words = NeuralLmConfig(**json.loads(texts[_CONFIG])), json.loads(texts[_WORDS])
            if weights["embedding.weight"].shape != (len(words), config.dim) or config.layers > len(weights):
                raise ValueError("the sizes of its weights do not match its options")
            model = NeuralLm(config, words)
            model.load_state_dict(weights)
        return model.eval()


def batches(sentences: Sequence[Sequence[str]]) -> Iterator[list[int]]:
    """Yield indices of sentences of similar length, about TOKENS words per batch, the shortest first."""
    batch: list[int] = []
    for index in sorted(range(len(sentences)), key=lambda index: (len(sentences[index]), index)):
        if batch and (len(batch) + 1) * (len(sentences[index]) + 1) > TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def prepare_neural_lm(
    config: NeuralLmConfig,
    lm: LmConfig,
    train_texts: Sequence[str],
    dev_texts: Mapping[str, Sequence[str]],
    lang_dir: Path,
    output: Path,
) -> None:
    """Train on the texts of the n-gram models with the lang folder's words; write NEURAL_FILE.

    Args:
        config: sizes and training of the model.
        lm: options with the extra texts.
        train_texts: normalised training sentences.
        dev_texts: normalised sentences of each dev part; they select the epoch.
        lang_dir: lang folder.
        output: folder to write.
    """
    lang = Lang.load(lang_dir)
    vocabulary = set(lang.pronunciations) - SPECIAL_WORDS
    sources = read_sources(lm, train_texts, vocabulary, lang.normalisation)
    texts = [text for source in sources for text in source.texts]
    dev = [text for part in dev_texts.values() for text in part if text]
    output.mkdir(parents=True, exist_ok=True)
    train_neural(config, texts, dev, [OOV_WORD, *sorted(vocabulary)]).save(output / NEURAL_FILE)


def train_neural(
    config: NeuralLmConfig, texts: Sequence[str], dev_texts: Sequence[str], words: Sequence[str]
) -> NeuralLm:
    """Train on sentences; return the epoch of lowest dev perplexity (without dev text, the last one).

    Args:
        texts, dev_texts: normalised, words separated by blanks.
        words: the vocabulary, <UNK> included.
    """
    sentences = [text.split() for text in texts]
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = NeuralLm(config, [END, *words])
        plan = list(batches(sentences))
        optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, config.learning_rate, total_steps=config.epochs * len(plan), pct_start=0.1
        )
        best, kept = math.inf, model.state_dict()
        for epoch in range(1, config.epochs + 1):
            train_epoch(model, sentences, plan, optimiser, schedule, f"neural language model, epoch {epoch}")
            fit = model.eval().perplexity(dev_texts) if dev_texts else math.nan
            logger.info("neural language model, epoch %d of %d: dev perplexity %.1f", epoch, config.epochs, fit)
            if fit < best or not dev_texts:
                best, kept = fit, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return model.eval()


def train_epoch(
    model: NeuralLm,
    sentences: Sequence[Sequence[str]],
    plan: Sequence[Sequence[int]],
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    name: str,
) -> None:
    """Train on every batch once, in random order.

    Args:
        model: the model.
        sentences: words of each sentence.
        plan: indices of the sentences of each batch.
        optimiser: optimiser of the weights.
        schedule: learning rate, advanced with each batch.
        name: text of the progress bar.
    """
    model.train()
    for place in tqdm(torch.randperm(len(plan)).tolist(), desc=name, mininterval=5, leave=False):
        batch = [sentences[index] for index in plan[place]]
        loss = model.losses(batch).sum() / sum(len(words) + 1 for words in batch)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()

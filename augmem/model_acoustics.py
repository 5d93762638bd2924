"""Acoustic scores of stored features for decoding and alignment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
from lhotse.cut import Cut
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from augmem.corpus import load_cuts, stored_features
from augmem.decoding import UtteranceKey
from augmem.graph import Origin
from augmem.lang import words_hash
from augmem.model import AcousticModel

CPU = torch.device("cpu")


class ModelAcoustics:
    """Log-probabilities of utterances by a model, with times and origin. Loads lazily, in each decoding process.

    Args:
        model: model file.
        lang: lang folder of the model.
        features: folder of the features.
        parts: parts whose utterances may be requested.
        device: where the model computes.
    """

    def __init__(
        self, model: Path, lang: Path, features: Path, parts: Sequence[str], device: torch.device = CPU
    ) -> None:
        self.model, self.lang, self.features, self.parts = model, lang, features, tuple(parts)
        self.device = device

    def on(self, device: torch.device) -> ModelAcoustics:
        """Return the same scores, computed on another device."""
        return ModelAcoustics(self.model, self.lang, self.features, self.parts, device)

    def __call__(self, keys: Sequence[UtteranceKey]) -> tuple[Tensor, Tensor]:
        """Return log-probabilities (B, T, V) and lengths (B,) in frames, on the CPU."""
        matrices = [torch.from_numpy(stored_features(self.cuts[key])) for key in keys]
        lengths = torch.tensor([len(matrix) for matrix in matrices])
        log_probs, lengths = self.network(pad_sequence(matrices, batch_first=True).to(self.device), lengths)
        return log_probs.cpu(), lengths

    def time_of(self, frame: int) -> float:
        """Return the time in seconds at which a frame begins."""
        return self.network.time_of(frame)

    @property
    def origin(self) -> Origin:
        """Origin that a decoding graph must have to match the model and the lang folder."""
        return self.network.description.origin._replace(words_hash=words_hash(self.lang))

    @cached_property
    def network(self) -> AcousticModel:
        """The model."""
        return AcousticModel.load(self.model, self.lang).to(self.device)

    @cached_property
    def cuts(self) -> dict[UtteranceKey, Cut]:
        """The cuts of all parts."""
        return dict(keyed_cuts(self.features, self.parts))


def keyed_cuts(features: Path, parts: Sequence[str]) -> Iterator[tuple[UtteranceKey, Cut]]:
    """Yield the cuts of some parts with their keys."""
    for part in parts:
        for cut in load_cuts(features, [part], in_memory=False):
            yield UtteranceKey(part, cut.id), cut

"""Acoustic model: feature normalisation, encoder, and output layer over the units of a lang folder.

A model file describes its encoder, features, units and topology, so that later stages read them from there, and a lang
folder with other units is refused.

Letters: B batch, T feature frames, F feature bins, T' output frames, D model width, V units (blank = 0 included).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from augmem.encoder import AugmentedMemoryEncoder, EncoderConfig, Memory, StreamState, build_encoder
from augmem.errors import UserError
from augmem.graph import Origin, context_hash
from augmem.lang import content_hash, read_symbols, units_hash
from augmem.tensors import TensorFormat, load_tensors, save_tensors

FILE_FORMAT = TensorFormat(
    "augmem acoustic model 2", "an acoustic model", "copy it again, or run the stage train and then those after it"
)
_DESCRIPTION = "description"  # name of a text in the file
MIN_STD = 1e-3  # of a log-mel bin: a constant bin (band-limited audio) must not be amplified


@dataclass(frozen=True)
class ModelDescription:
    """Description of an acoustic model, stored in the model file as JSON.

    Args:
        encoder: config of the encoder.
        feature_dim: feature bins F.
        frame_shift: seconds between feature frames.
        num_units: size V of the output layer, blank included.
        units_hash: hash of the units that the outputs score (`Lang.units_hash`); words and lexicon may change.
        topology: name of the H topology used in training; decoding must use the same.
        features: options of the feature extractor.
        training: origin of the weights (epoch, step, ...); informative only.
        biphones: (left unit, unit) pairs with outputs of their own, in the order of their outputs; see
            `augmem.graph.context`.
        lang_hash: content hash of the whole lang folder, in models of earlier releases, which had no units_hash.

    Example:
        >>> config = EncoderConfig(dim=32, heads=2)
        >>> description = ModelDescription(config, feature_dim=80, frame_shift=0.01, num_units=41, units_hash="")
        >>> ModelDescription.from_json(description.to_json()) == description
        True
    """

    encoder: EncoderConfig
    feature_dim: int
    frame_shift: float
    num_units: int
    units_hash: str
    topology: str = "ctc"
    features: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    biphones: tuple[tuple[int, int], ...] = ()
    lang_hash: str = ""

    @property
    def origin(self) -> Origin:
        """Units, topology and context that a decoding graph must share."""
        return Origin(self.units_hash, self.topology, context_hash(self.biphones))

    def to_json(self) -> str:
        """Return one line of JSON; floats keep their exact value."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> ModelDescription:
        """Parse the output of `to_json`."""
        values = json.loads(text)
        encoder = EncoderConfig.from_stored(values.pop("encoder"))
        pairs = tuple((left, unit) for left, unit in values.pop("biphones", ()))
        return ModelDescription(encoder=encoder, biphones=pairs, **{"units_hash": ""} | values)


class TrainedModel(NamedTuple):
    """Files of a trained model."""

    model: Path
    lang: Path


def find_trained_model(folder: Path) -> TrainedModel:
    """Return the files of an experiment or a package.

    Raises:
        FileNotFoundError: the folder is neither, or has no model yet.
    """
    for model in (folder / "train" / "model.safetensors", folder / "model.safetensors"):
        if model.is_file() and (folder / "lang" / "tokens.txt").is_file():
            return TrainedModel(model, folder / "lang")
    raise FileNotFoundError(f"{folder}: neither a trained experiment nor a packaged model; give the folder of one")


class AcousticModel(nn.Module):
    """Normalisation, encoder, linear layer, log softmax over units.

    Args:
        description: sizes and origin: everything except the weights.
        mean, std: (F,) global feature statistics of the training data; default zeros and ones.

    Example:
        >>> encoder = EncoderConfig(dim=32, heads=2, layers=2, feedforward_dim=64)
        >>> description = ModelDescription(encoder, feature_dim=80, frame_shift=0.01, num_units=41, units_hash="")
        >>> model = AcousticModel(description).eval()
        >>> log_probs, lengths = model(torch.randn(1, 200, 80), torch.tensor([200]))
        >>> log_probs.shape, lengths.tolist()
        (torch.Size([1, 50, 41]), [50])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, description: ModelDescription, mean: Tensor | None = None, std: Tensor | None = None) -> None:
        super().__init__()
        bins = description.feature_dim
        self.description = description
        self.register_buffer("mean", torch.zeros(bins) if mean is None else mean.float().clone())
        self.register_buffer("std", torch.ones(bins) if std is None else std.float().clamp(min=MIN_STD))
        if self.mean.shape != (bins,) or self.std.shape != (bins,):
            shapes = f"{tuple(self.mean.shape)} and {tuple(self.std.shape)}"
            raise ValueError(f"mean and std must have shape ({bins},) = (feature_dim,), got {shapes}")
        self.encoder = build_encoder(description.encoder, bins, description.frame_shift)
        self.output = nn.Linear(self.encoder.output_dim, description.num_units)
        # Outputs of the iterated-loss layers, lowest first; used in training only.
        self.auxiliary = nn.ModuleList(
            [
                nn.Linear(self.encoder.output_dim, description.num_units)
                for _ in description.encoder.iterated_loss_layers
            ]
        )

    @property
    def frame_shift(self) -> float:
        """Seconds between output frames."""
        return self.description.frame_shift * self.encoder.subsampling

    def time_of(self, frame: int) -> float:
        """Return the begin time in seconds of the audio that output frame `frame` describes.

        It lies before the frame by the delay of the front end. The first frames are spread over the time that exists,
        so that times strictly increase.
        """
        shift, delay = self.frame_shift, self.encoder.frontend_delay
        return round(max(frame * shift - delay, frame * shift / 4), 3)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Score whole utterances.

        Args:
            features: (B, T, F), zero padded.
            lengths: (B,) valid frames.

        Returns:
            log-probabilities (B, T', V) in float32, and valid output frames (B,).
        """
        self._check(features)
        hidden, lengths = self.encoder(self.normalise(features), lengths)
        return self.score(hidden), lengths

    def forward_levels(
        self, features: Tensor, lengths: Tensor, memory: Memory | None = None
    ) -> tuple[list[Tensor], Tensor, Memory | None]:
        """Run `forward`, and return the log-probabilities of the iterated-loss layers too.

        Args:
            features: (B, T, F), zero padded.
            lengths: (B,) valid frames.
            memory: memory of the previous utterance of each session, if memory is passed on.

        Returns:
            log-probabilities (B, T', V) of the model and then of the iterated-loss layers, lowest first; valid output
            frames (B,); memory for the next utterances.
        """
        hidden, lengths, memory = self.encode_levels(features, lengths, memory)
        return self.score_levels(hidden), lengths, memory

    def encode_levels(
        self, features: Tensor, lengths: Tensor, memory: Memory | None = None
    ) -> tuple[list[Tensor], Tensor, Memory | None]:
        """Run `forward_levels` without output layers: hidden vectors (B, T', D) take the place of log-probabilities."""
        self._check(features)
        if memory is None:
            encoded = self.encoder.encode(self.normalise(features), lengths)
        else:
            assert isinstance(self.encoder, AugmentedMemoryEncoder)
            encoded, memory = self.encoder.encode_with_memory(self.normalise(features), lengths, memory)
        return [encoded.hidden, *encoded.taps], encoded.lengths, memory

    def score_levels(self, hidden: Sequence[Tensor]) -> list[Tensor]:
        """Map the hidden vectors of `encode_levels` to log-probabilities (B, T', V)."""
        outputs = zip((self.output, *self.auxiliary), hidden, strict=True)
        return [log_softmax_of(output(level)) for output, level in outputs]

    def init_state(self, batch: int) -> StreamState:
        """Return the state of `batch` new streams; see `Encoder.init_state`."""
        return self.encoder.init_state(batch)

    def step(self, chunk: Tensor, state: StreamState, final: bool) -> tuple[Tensor, StreamState]:
        """Score the next feature frames of streams; see `Encoder.step`.

        Args:
            chunk: (B, T, F).
            state: state returned by `init_state` or by the last step.
            final: whether the streams end with this chunk.

        Returns:
            log-probabilities (B, T', V), and the new state.
        """
        self._check(chunk)
        hidden, state = self.encoder.step(self.normalise(chunk), state, final)
        return self.score(hidden), state

    def normalise(self, features: Tensor) -> Tensor:
        """Normalise features (B, T, F) by the mean and standard deviation of each bin in the training data."""
        return (features - self.mean) / self.std

    def score(self, hidden: Tensor) -> Tensor:
        """Map hidden vectors (B, T', D) to log-probabilities (B, T', V); float32 also under autocast."""
        return log_softmax_of(self.output(hidden))

    def save(self, path: Path, **training: Any) -> None:
        """Write weights and description atomically; `training` is added to that of the description."""
        notes = {**self.description.training, **training}
        description = dataclasses.replace(self.description, training=notes)
        save_tensors(path, FILE_FORMAT, self.state_dict(), {_DESCRIPTION: description.to_json()})

    @staticmethod
    def load(path: Path, lang_dir: Path | None = None) -> AcousticModel:
        """Load a model file to the CPU, in evaluation mode.

        Args:
            path: file written by `save`.
            lang_dir: lang folder to check against that of training, if given.

        Raises:
            FileNotFoundError: no such file.
            UserError: not a model file, damaged, or of another lang folder.
        """
        weights, texts = load_tensors(path, FILE_FORMAT)
        with FILE_FORMAT.explain(path):
            description = ModelDescription.from_json(texts[_DESCRIPTION])
            _check_sizes(description, weights)
            model = AcousticModel(description)
            model.load_state_dict(weights)
        if lang_dir is not None:
            check_units(description, lang_dir, path)
            model.description = dataclasses.replace(description, units_hash=read_units_hash(lang_dir), lang_hash="")
        return model.eval()

    def _check(self, features: Tensor) -> None:
        if features.dim() != 3 or features.shape[-1] != self.description.feature_dim:
            wanted = f"(batch, frames, {self.description.feature_dim})"
            raise ValueError(f"features must have shape {wanted}, got {tuple(features.shape)}")


def log_softmax_of(logits: Tensor) -> Tensor:
    """Return log-probabilities, in float32 also under autocast."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(dim=-1)


def check_units(description: ModelDescription, lang_dir: Path, owner: Path) -> None:
    """Refuse a lang folder whose units are not those of the model; words and pronunciations may differ.

    Args:
        description: description of the model; those of earlier releases store no hash of units and need an unchanged
            folder.
        lang_dir: the lang folder.
        owner: the model file or training folder, for the message.

    Raises:
        UserError: the units differ.
    """
    if description.units_hash:
        expected, found, what = description.units_hash, read_units_hash(lang_dir), "units"
    else:
        expected, found, what = description.lang_hash, content_hash(lang_dir), "files (it is from an earlier release)"
    if found != expected:
        raise UserError(
            f"{owner} was trained with a lang folder whose {what} have hash {expected}, but those of {lang_dir} have "
            f"{found}: its outputs would be read as other units. Use the lang folder of its own experiment, or train a "
            "new model in an empty folder."
        )


def read_units_hash(lang_dir: Path) -> str:
    """Return the hash of the units of a lang folder."""
    return units_hash(read_symbols(lang_dir / "tokens.txt"))


def _check_sizes(description: ModelDescription, weights: Mapping[str, Tensor]) -> None:
    """Refuse sizes that exceed those of the weights, before memory is allocated for them."""
    encoder, stored = description.encoder, sum(weight.numel() for weight in weights.values())
    inner = encoder.lstm_dim or encoder.feedforward_dim
    per_layer = encoder.dim * max(encoder.dim, inner, encoder.convolution_kernel)
    outputs = description.num_units * encoder.dim + description.feature_dim
    if encoder.layers * per_layer + outputs + math.prod(encoder.frontend_channels) > stored:
        raise ValueError(f"the described sizes need more than its {stored} weights")

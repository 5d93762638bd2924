"""The acoustic model: feature normalisation, an encoder, and an output layer that scores the units of a lang folder.

A model file says by itself what its weights belong to (encoder, features, units, topology), so no later stage has
to be told again, and it refuses to speak about a lang folder other than the one it was trained with.

Shapes: B batch, T feature frames, F feature bins, T' output frames, V units (blank = 0 included).
"""

from __future__ import annotations

import dataclasses
import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from augmem.encoder import AugmentedMemoryEncoder, Encoded, EncoderConfig, Memory, build_encoder
from augmem.errors import UserError
from augmem.files import atomic_path
from augmem.graph import Origin, context_hash
from augmem.lang import content_hash, read_symbols, units_hash
from augmem.tensors import save_tensors

FILE_FORMAT = "augmem acoustic model 1"
SMALLEST_STD = 1e-3  # of a log-mel bin: a bin that never varies (band-limited audio) must not be blown up


@dataclass(frozen=True)
class ModelDescription:
    """What the weights belong to; stored in the model file as JSON.

    Args:
        encoder: shape of the encoder.
        feature_dim: bins of one feature frame (F).
        frame_shift: seconds between feature frames.
        num_units: size of the output layer (V), blank included.
        units_hash: hash of the units that the outputs score (`Lang.units_hash`); words and lexicon may change.
        topology: name of the H topology the model was trained with; decoding must use the same.
        features: the feature extractor's settings, so that audio can be treated as in training.
        biphones: the (left unit, unit) pairs that have outputs of their own, in the order of their outputs; see
            `augmem.graph.context`.
        training: where the weights come from (epoch, step, ...); informative only.
        lang_hash: only in models of earlier releases, which had no units_hash: content hash of the whole lang folder.
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
        """One line of JSON; floats keep their exact value."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> ModelDescription:
        """The inverse of `to_json`. JSON has no tuples, so lists in the encoder's settings become tuples again."""
        values = json.loads(text)
        encoder: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in values.pop("encoder").items()
        }
        pairs = tuple((left, unit) for left, unit in values.pop("biphones", ()))
        return ModelDescription(encoder=EncoderConfig(**encoder), biphones=pairs, **{"units_hash": ""} | values)


class AcousticModel(nn.Module):
    """Normalisation -> encoder -> linear layer -> log softmax over units.

    Args:
        description: shapes and origin; fixes everything but the weights.
        mean, std: (F,) global feature statistics of the training data; zeros and ones if not given.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, description: ModelDescription, mean: Tensor | None = None, std: Tensor | None = None) -> None:
        super().__init__()
        bins = description.feature_dim
        self.description = description
        self.register_buffer("mean", torch.zeros(bins) if mean is None else mean.float().clone())
        self.register_buffer("std", torch.ones(bins) if std is None else std.float().clamp(min=SMALLEST_STD))
        if self.mean.shape != (bins,) or self.std.shape != (bins,):
            shapes = f"{tuple(self.mean.shape)} and {tuple(self.std.shape)}"
            raise ValueError(f"mean and std must have shape ({bins},) = (feature_dim,), got {shapes}")
        self.encoder = build_encoder(description.encoder, bins, description.frame_shift)
        self.output = nn.Linear(self.encoder.output_dim, description.num_units)
        # Outputs of the iterated-loss layers, lowest first; only training reads them.
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
        """Seconds at which what output frame `frame` tells of begins: earlier than the frame, by the front end's delay.

        The first frames have no such past; they share the time there is, so that time never stands still.
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
        """As `forward`, with the log-probabilities of the iterated-loss layers behind the model's own.

        Args:
            memory: of what each utterance follows, if it is handed on; what they hand on in turn is returned.
        """
        self._check(features)
        if memory is None:
            encoded = self.encoder.encode(self.normalise(features), lengths)
        else:
            assert isinstance(self.encoder, AugmentedMemoryEncoder)
            encoded, memory = self.encoder.encode_after(self.normalise(features), lengths, memory)
        return self._levels(encoded), encoded.lengths, memory

    def _levels(self, encoded: Encoded) -> list[Tensor]:
        lower = zip(self.auxiliary, encoded.taps, strict=True)
        return [self.score(encoded.hidden), *(output(tap).float().log_softmax(dim=-1) for output, tap in lower)]

    def init_state(self, batch: int) -> Any:
        """The state before the first chunk of `batch` streams (see the encoder)."""
        return self.encoder.init_state(batch)

    def step(self, chunk: Tensor, state: Any, final: bool) -> tuple[Tensor, Any]:
        """Score the next chunk (B, S, F) of running streams: log-probabilities (B, T'', V) and the new state."""
        self._check(chunk)
        hidden, state = self.encoder.step(self.normalise(chunk), state, final)
        return self.score(hidden), state

    def normalise(self, features: Tensor) -> Tensor:
        """Zero mean and unit variance per bin, by the training data's statistics."""
        return (features - self.mean) / self.std

    def score(self, hidden: Tensor) -> Tensor:
        """Hidden vectors (B, T', D) to log-probabilities (B, T', V); float32 whatever the autocast."""
        return self.output(hidden).float().log_softmax(dim=-1)

    def save(self, path: Path, **training: Any) -> None:
        """Write weights and description atomically; `training` notes are added to the description's."""
        notes = {**self.description.training, **training}
        description = dataclasses.replace(self.description, training=notes)
        weights = {name: value.detach().cpu() for name, value in self.state_dict().items()}
        with atomic_path(path) as temporary:
            save_tensors({"format": FILE_FORMAT, "description": description.to_json(), "weights": weights}, temporary)

    @staticmethod
    def load(path: Path, lang_dir: Path | None = None) -> AcousticModel:
        """Read a model file, on the CPU and in evaluation mode.

        Args:
            path: file written by `save`.
            lang_dir: if given, the lang folder the outputs will be read with; must be the one of training.
        Raises:
            FileNotFoundError: no such file.
            ValueError: not a model file, or the lang folder is another one.
        """
        description, weights = _read(path)
        if lang_dir is not None:
            check_units(description, lang_dir, path)
            description = dataclasses.replace(description, units_hash=read_units_hash(lang_dir), lang_hash="")
        model = AcousticModel(description)
        model.load_state_dict(weights)
        return model.eval()

    def _check(self, features: Tensor) -> None:
        if features.dim() != 3 or features.shape[-1] != self.description.feature_dim:
            wanted = f"(batch, frames, {self.description.feature_dim})"
            raise ValueError(f"features must have shape {wanted}, got {tuple(features.shape)}")


def check_units(description: ModelDescription, lang_dir: Path, owner: Path) -> None:
    """Refuse a lang folder whose units are not those of the model; words and pronunciations may differ.

    Args:
        description: of the model. Models of earlier releases store no hash of the units and need an unchanged folder.
        lang_dir: the lang folder.
        owner: the model file or training folder, for the message.

    Raises:
        UserError: the units differ.
    """
    if description.units_hash:
        expected, found, what = description.units_hash, read_units_hash(lang_dir), "units"
    else:
        expected, found, what = description.lang_hash, content_hash(lang_dir), "files (it is of an earlier release)"
    if found != expected:
        raise UserError(
            f"{owner} was trained with a lang folder whose {what} have hash {expected}, but those of {lang_dir} have "
            f"{found}: its outputs would be read as other units. Use the lang folder of its own experiment, or train a "
            "new model in an empty folder."
        )


def read_units_hash(lang_dir: Path) -> str:
    """Return the hash of the units of a lang folder."""
    return units_hash(read_symbols(lang_dir / "tokens.txt"))


def _read(path: Path) -> tuple[ModelDescription, dict[str, Tensor]]:
    """A model file's content. Loading runs no code from the file: tensors and strings only."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model file; train one, or name another")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != FILE_FORMAT:
            raise ValueError(f"format is {content['format']!r}, wanted {FILE_FORMAT!r}")
        return ModelDescription.from_json(content["description"]), content["weights"]
    except (RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"{path} is not a model file of this project, or it is damaged ({error}); "
            "copy it again, or run the training stage to write it anew"
        ) from error

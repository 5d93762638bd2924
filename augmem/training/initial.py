"""Initial weights of training: random ones, or those of another model for fine-tuning."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from augmem.errors import UserError
from augmem.features import FeatureConfig
from augmem.model import AcousticModel, ModelDescription, find_trained_model
from augmem.training.config import TrainingConfig

logger = logging.getLogger(__name__)


def initial_model(
    config: TrainingConfig, description: ModelDescription, statistics: tuple[Tensor, Tensor]
) -> AcousticModel:
    """Return the model to train.

    With `init_from`, it has the weights and the feature statistics of that model, and its lowest layers are frozen.

    Args:
        config: init_from, frozen_layers.
        description: description of the model to train.
        statistics: mean and standard deviation (F,) of the training features, for random weights.

    Raises:
        FileNotFoundError: there is no model to start from.
        UserError: that model has other units, features or sizes.
    """
    if config.init_from is None:
        return AcousticModel(description, *statistics)
    files = find_trained_model(Path(config.init_from))
    found = AcousticModel.load(files.model, files.lang)
    check_same_kind(found.description, description, config.init_from)
    model = AcousticModel(description)
    model.load_state_dict(found.state_dict())
    freeze_layers(model, config.frozen_layers)
    logger.info("initial weights of %s", files.model)
    return model


def check_same_kind(found: ModelDescription, wanted: ModelDescription, folder: str) -> None:
    """Check that the weights of one model fit another.

    Raises:
        UserError: they do not; names the reason.
    """
    differences = {
        "units": found.units_hash != wanted.units_hash,
        f"features ({_differing(_features(found), _features(wanted))})": _features(found) != _features(wanted),
        f"topology ({found.topology})": found.topology != wanted.topology,
        "context (biphones)": found.biphones != wanted.biphones,
        f"encoder ({_differing(asdict(found.encoder), asdict(wanted.encoder))})": found.encoder != wanted.encoder,
    }
    if different := [name for name, differs in differences.items() if differs]:
        raise UserError(
            f"training.init_from={folder}: that model has other {', '.join(different)} than this experiment; remove "
            "these options, so that those of the model are used, or train from the start"
        )


def _features(description: ModelDescription) -> dict[str, object]:
    """Return the options of the features of a model."""
    return {**asdict(FeatureConfig()), **description.features, "speed_perturb": False, "extractor": ""}


def _differing(one: dict[str, object], other: dict[str, object]) -> str:
    return ", ".join(name for name in one if one[name] != other.get(name))


def freeze_layers(model: AcousticModel, count: int) -> None:
    """Keep the weights of the front end and of the lowest layers of the encoder.

    Args:
        model: the model.
        count: number of layers; 0 freezes nothing.

    Raises:
        UserError: the encoder has fewer layers.
    """
    layers = list(getattr(model.encoder, "layers", ()))
    if count > len(layers):
        raise UserError(f"training.frozen_layers={count}: the encoder has {len(layers)} layers")
    for module in (model.encoder.frontend, *layers[:count]) if count else ():
        module.requires_grad_(False)

"""Initial weights of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from augmem.encoder import EncoderConfig
from augmem.errors import UserError
from augmem.lang import Lang, LangConfig, prepare_lang
from augmem.model import AcousticModel, ModelDescription
from augmem.training import TrainingConfig
from augmem.training.initial import initial_model
from augmem.training.optimiser import make_optimiser

ENCODER = EncoderConfig(dim=16, heads=2, feedforward_dim=16, layers=2, frontend_channels=(2, 2))
STATISTICS = torch.zeros(20), torch.ones(20)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelDescription]:
    """A folder with a model and its lang folder."""
    folder = tmp_path_factory.mktemp("package")
    prepare_lang(LangConfig(units="grapheme"), ["ONE TWO"], folder / "lang")
    lang = Lang.load(folder / "lang")
    description = ModelDescription(ENCODER, 20, 0.01, lang.num_units, lang.units_hash, features={"num_mel_bins": 20})
    AcousticModel(description, torch.full((20,), 3.0), torch.full((20,), 2.0)).save(folder / "model.safetensors")
    return folder, description


def test_weights_and_statistics_are_those_of_the_model(package: tuple[Path, ModelDescription]) -> None:
    folder, description = package
    model = initial_model(TrainingConfig(init_from=str(folder)), description, STATISTICS)
    expected = AcousticModel.load(folder / "model.safetensors").state_dict()
    assert all(torch.equal(weight, expected[name]) for name, weight in model.state_dict().items())
    assert model.mean[0] == 3.0 and all(parameter.requires_grad for parameter in model.parameters())


def test_frozen_layers_are_not_trained(package: tuple[Path, ModelDescription]) -> None:
    folder, description = package
    model = initial_model(TrainingConfig(init_from=str(folder), frozen_layers=1), description, STATISTICS)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[1] for name in frozen} == {"frontend", "layers"}
    assert all(name.startswith(("encoder.frontend.", "encoder.layers.0.")) for name in frozen)
    trained = sum(len(group["params"]) for group in make_optimiser(model, TrainingConfig()).param_groups)
    assert trained == len(list(model.parameters())) - len(frozen)
    with pytest.raises(UserError, match=r"training\.frozen_layers=3: the encoder has 2 layers"):
        initial_model(TrainingConfig(init_from=str(folder), frozen_layers=3), description, STATISTICS)
    with pytest.raises(UserError, match=r"training\.frozen_layers is 1; it must be 0 without init_from"):
        TrainingConfig(frozen_layers=1)


def test_other_models_are_refused_with_the_reason(package: tuple[Path, ModelDescription], tmp_path: Path) -> None:
    folder, description = package
    config = TrainingConfig(init_from=str(folder))
    for changed, reason in (
        (replace(description, units_hash="other"), "other units than"),
        (replace(description, topology="chain"), r"other topology \(ctc\) than"),
        (replace(description, features={"num_mel_bins": 20, "low_freq": 60.0}), r"other features \(low_freq\) than"),
        (replace(description, encoder=replace(ENCODER, layers=3)), r"other encoder \(layers\) than"),
    ):
        with pytest.raises(UserError, match=reason):
            initial_model(config, changed, STATISTICS)
    with pytest.raises(FileNotFoundError, match="neither a trained experiment nor a packaged model"):
        initial_model(TrainingConfig(init_from=str(tmp_path)), description, STATISTICS)

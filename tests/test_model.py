"""Model files: description, weights, lang folder; scores in both forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from augmem.encoder import ENCODERS, EncoderConfig
from augmem.errors import UserError
from augmem.lang import content_hash, units_hash
from augmem.model import FILE_FORMAT, AcousticModel, ModelDescription
from augmem.tensors import save_tensors

ENCODER = EncoderConfig(dim=16, heads=2, feedforward_dim=32, layers=2, frontend_channels=(2, 3))


def lang_folder(folder: Path, units: str, words: str = "WORD") -> Path:
    """A lang folder with one letter per unit."""
    folder.mkdir()
    (folder / "tokens.txt").write_text("".join(f"{unit} {n}\n" for n, unit in enumerate([*units, *["#0", "#1"]])))
    (folder / "words.txt").write_text(f"{words} 0\n")
    (folder / "lexicon.txt").write_text(f"{words} {units[1]}\n")
    return folder


def units_hash_of(units: str) -> str:
    return units_hash({unit: n for n, unit in enumerate(units)})


@pytest.fixture
def model() -> AcousticModel:
    torch.manual_seed(0)
    description = ModelDescription(
        ENCODER, feature_dim=20, frame_shift=0.01, num_units=7, units_hash=units_hash_of("-abcdef")
    )
    return AcousticModel(description, torch.full((20,), 3.0), torch.full((20,), 2.0)).eval()


def test_saved_and_loaded_model_is_equal(tmp_path: Path, model: AcousticModel) -> None:
    model.save(tmp_path / "model.safetensors", epoch=4)
    again = AcousticModel.load(tmp_path / "model.safetensors", lang_folder(tmp_path / "lang", "-abcdef"))
    assert again.description.encoder == ENCODER and again.description.training == {"epoch": 4}
    features, lengths = torch.randn(2, 90, 20), torch.tensor([90, 41])
    for mine, other in zip(model(features, lengths), again(features, lengths), strict=True):
        assert torch.equal(mine, other)
    weights = [part.weight for part in again.encoder.modules() if isinstance(part, torch.nn.Linear)]
    assert weights and all(weight.t().is_contiguous() for weight in weights), "laid out for streaming"


def test_scores_are_log_probabilities_of_normalised_features(model: AcousticModel) -> None:
    features, lengths = torch.randn(1, 64, 20), torch.tensor([64])
    scores, frames = model(features, lengths)
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(1, int(frames)))
    hidden, _ = model.encoder((features - 3) / 2, lengths)
    torch.testing.assert_close(scores, model.output(hidden).log_softmax(-1))


def test_streaming_scores_equal_those_of_the_whole_utterance(model: AcousticModel) -> None:
    features = torch.randn(1, 300, 20)
    whole, _ = model(features, torch.tensor([300]))
    state, pieces = model.init_state(1), []
    for start in range(0, 300, 77):
        piece, state = model.step(features[:, start : start + 77], state, final=start + 77 >= 300)
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-5, rtol=1e-5)


def test_other_words_are_accepted_and_other_units_refused(tmp_path: Path, model: AcousticModel) -> None:
    model.save(tmp_path / "model.safetensors")
    AcousticModel.load(tmp_path / "model.safetensors", lang_folder(tmp_path / "words", "-abcdef", "OTHER"))
    with pytest.raises(UserError, match=r"model\.safetensors was trained with a lang folder whose units have hash"):
        AcousticModel.load(tmp_path / "model.safetensors", lang_folder(tmp_path / "units", "-abcdfe"))


def test_models_of_earlier_releases_need_an_unchanged_lang_folder(tmp_path: Path, model: AcousticModel) -> None:
    """They store one hash of tokens, words and lexicon."""
    folder = lang_folder(tmp_path / "lang", "-abcdef")
    values = json.loads(model.description.to_json()) | {"lang_hash": content_hash(folder)}
    del values["units_hash"]
    save_tensors(tmp_path / "model.safetensors", FILE_FORMAT, model.state_dict(), {"description": json.dumps(values)})
    description = AcousticModel.load(tmp_path / "model.safetensors", folder).description
    assert (description.units_hash, description.lang_hash) == (units_hash_of("-abcdef"), "")
    with pytest.raises(UserError, match="it is from an earlier release"):
        AcousticModel.load(tmp_path / "model.safetensors", lang_folder(tmp_path / "words", "-abcdef", "OTHER"))


def test_damaged_and_missing_files_are_reported(tmp_path: Path, model: AcousticModel) -> None:
    path = tmp_path / "model.safetensors"
    model.save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"model\.safetensors: not an acoustic model, or damaged"):
        AcousticModel.load(path)
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors: no such file, expected an acoustic model"):
        AcousticModel.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("name", "value"),
    [("layers", 10**9), ("dim", 10**6), ("feedforward_dim", 10**9), ("frontend_channels", [10**9, 1])],
)
def test_described_sizes_cannot_exhaust_memory(name: str, value: object, tmp_path: Path, model: AcousticModel) -> None:
    values = json.loads(model.description.to_json())
    values["encoder"][name] = value
    save_tensors(tmp_path / "model.safetensors", FILE_FORMAT, model.state_dict(), {"description": json.dumps(values)})
    with pytest.raises(UserError, match=r"model\.safetensors: .*the described sizes need more than its \d+ weights"):
        AcousticModel.load(tmp_path / "model.safetensors")


@pytest.mark.parametrize("kind", ENCODERS)
def test_models_of_all_encoders_are_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    description = ModelDescription(EncoderConfig(kind, dim=8, heads=2, feedforward_dim=8, layers=3), 20, 0.01, 2, "")
    model = AcousticModel(description)
    model.save(tmp_path / "model.safetensors")
    found = AcousticModel.load(tmp_path / "model.safetensors").state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in model.state_dict().items())

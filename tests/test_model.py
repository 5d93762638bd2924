"""Model files: description, weights, lang folder; scores in both forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from augmem.encoder import EncoderConfig
from augmem.errors import UserError
from augmem.lang import content_hash, units_hash
from augmem.model import FILE_FORMAT, AcousticModel, ModelDescription

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
    model.save(tmp_path / "model.pt", epoch=4)
    again = AcousticModel.load(tmp_path / "model.pt", lang_folder(tmp_path / "lang", "-abcdef"))
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
    model.save(tmp_path / "model.pt")
    AcousticModel.load(tmp_path / "model.pt", lang_folder(tmp_path / "words", "-abcdef", "OTHER"))
    with pytest.raises(UserError, match=r"model\.pt was trained with a lang folder whose units have hash"):
        AcousticModel.load(tmp_path / "model.pt", lang_folder(tmp_path / "units", "-abcdfe"))


def test_models_of_earlier_releases_need_an_unchanged_lang_folder(tmp_path: Path, model: AcousticModel) -> None:
    """They store one hash of tokens, words and lexicon."""
    folder = lang_folder(tmp_path / "lang", "-abcdef")
    values = json.loads(model.description.to_json()) | {"lang_hash": content_hash(folder)}
    del values["units_hash"]
    content = {"format": FILE_FORMAT, "description": json.dumps(values), "weights": model.state_dict()}
    torch.save(content, tmp_path / "model.pt")
    description = AcousticModel.load(tmp_path / "model.pt", folder).description
    assert (description.units_hash, description.lang_hash) == (units_hash_of("-abcdef"), "")
    with pytest.raises(UserError, match="it is from an earlier release"):
        AcousticModel.load(tmp_path / "model.pt", lang_folder(tmp_path / "words", "-abcdef", "OTHER"))


def test_damaged_and_missing_files_are_reported(tmp_path: Path, model: AcousticModel) -> None:
    path = tmp_path / "model.pt"
    model.save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"model\.pt is not a model file of this project, or it is damaged"):
        AcousticModel.load(path)
    with pytest.raises(FileNotFoundError, match="no such model file"):
        AcousticModel.load(tmp_path / "none.pt")

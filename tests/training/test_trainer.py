"""The trainer on a tiny lang, real graphs and noise for speech."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lhotse import CutSet, Features, MonoCut, SupervisionSegment
from lhotse.features.io import MemoryRawWriter

from augmem.corpus import BatchConfig, SpecAugmentConfig, StorageConfig
from augmem.corpus.storage import write_features
from augmem.decoding import Aligner
from augmem.encoder import EncoderConfig
from augmem.lang import Lang
from augmem.model import AcousticModel, ModelDescription
from augmem.training import Trainer, TrainingConfig, write_labels
from augmem.training.validation import best_path_units
from augmem.training.weights import RunningAverage, best_epochs
from tests.tiny import TEXTS, make_lang_and_graphs

ENCODER = EncoderConfig(dim=16, heads=2, feedforward_dim=16, layers=1, frontend_channels=(2, 2), centre=0.32)
BATCHES = BatchConfig(max_duration=2.5, num_buckets=1, workers=0, spec_augment=SpecAugmentConfig(enabled=False))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_lang_and_graphs(tmp_path_factory.mktemp("tiny"))


def cut(name: str, text: str, features: np.ndarray) -> MonoCut:
    """An utterance that has features and no audio."""
    frames, bins = features.shape
    segment = SupervisionSegment(name, name, 0, frames / 100, text=text)
    stored = MemoryRawWriter().write(name, features)
    matrix = Features("fbank", frames, bins, 0.01, 16000, 0, frames / 100, MemoryRawWriter.name, "", stored)
    return MonoCut(name, 0, frames / 100, 0, features=matrix, supervisions=[segment])


def noise(name: str, text: str, frames: int = 100) -> MonoCut:
    random = np.random.default_rng(crc32(name.encode()))
    return cut(name, text, random.normal(size=(frames, 20)).astype(np.float32))


CUTS = CutSet.from_cuts([noise(f"utterance{i}", text) for i, text in enumerate(TEXTS * 2)])


def trainer(folders: tuple[Path, Path], output: Path, cuts: CutSet = CUTS, **changes: object) -> Trainer:
    lang, graphs = folders
    output.mkdir(exist_ok=True)
    units = Lang.load(lang)
    shape: dict = {name: changes.pop(name) for name in vars(ENCODER).keys() & changes.keys()}
    description = ModelDescription(replace(ENCODER, **shape), 20, 0.01, units.num_units, units.units_hash)
    settings: dict = {"epochs": 2, "warmup_steps": 2, "ctc_epochs": 1, "hand_over_epochs": 0.5, "log_every": 1}
    config = TrainingConfig(**(settings | {"batches": BATCHES, "average_epochs": 1} | changes))
    return Trainer(config, description, lang, graphs, cuts, cuts, output)


def steps(output: Path) -> list[dict]:
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "step"]


def test_the_loss_falls_and_both_objectives_are_used(folders: tuple[Path, Path], tmp_path: Path) -> None:
    assert trainer(folders, tmp_path, epochs=10, ctc_epochs=4, learning_rate=0.01).run()
    log = steps(tmp_path)
    assert log[0]["ctc_weight"] == 1 and log[-1]["ctc_weight"] == 0
    ctc = [line["loss"] for line in log if line["ctc_weight"] == 1]
    assert np.mean(ctc[-4:]) < 0.8 * np.mean(ctc[:4])
    assert all(line["denominator"] >= line["numerator"] for line in log if line["ctc_weight"] < 1)


@pytest.mark.parametrize(
    "changes",
    [{"boost": 0.5, "ctc_epochs": 0, "hand_over_epochs": 0}, {"ctc_epochs": 10, "iterated_loss_layers": (1,)}],
)
def test_the_loss_falls_with_other_objectives(folders: tuple[Path, Path], tmp_path: Path, changes: dict) -> None:
    run = trainer(folders, tmp_path, epochs=10, learning_rate=0.01, **changes)
    before = {name: value.clone() for name, value in run.model.named_parameters()}
    assert run.run()
    losses = [line["loss"] for line in steps(tmp_path) if line["ctc_weight"] == ("boost" not in changes)]
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    assert all(not torch.equal(before[name], value) for name, value in run.model.named_parameters())
    assert any("auxiliary" in name for name in before) == ("iterated_loss_layers" in changes)
    AcousticModel.load(tmp_path / "model.pt", folders[0])


def test_cross_entropy_learns_another_models_alignment(folders: tuple[Path, Path], tmp_path: Path) -> None:
    lang, (first, *others) = Lang.load(folders[0]), CUTS
    teacher = trainer(folders, tmp_path / "teacher").model.eval()
    aligner, labels = Aligner(lang, "ctc", float), {}
    for item in others:
        features = torch.from_numpy(item.load_features())[None]
        log_probs, _ = teacher(features, torch.tensor([features.shape[1]]))
        labels[item.id] = aligner.align(log_probs[0].detach(), item.supervisions[0].text).outputs
        assert best_path_units(lang, labels[item.id], range(lang.num_units)) in [
            [unit for unit in units if unit != lang.tokens["SIL"]]
            for units in [[u for word in item.supervisions[0].text.split() for u in lang.pronunciations[word][0]]]
        ]
    write_labels(tmp_path / "labels.pt", labels, teacher.description)
    alignment = str(tmp_path / "labels.pt")
    run = trainer(folders, tmp_path / "run", epochs=12, ctc_epochs=10, learning_rate=0.01, alignment=alignment)
    assert run.run()
    losses = [line["loss"] for line in steps(tmp_path / "run") if line["ctc_weight"] == 1]
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])
    assert steps(tmp_path / "run")[-1]["ctc_weight"] < 1, "LF-MMI has taken over"
    listed = (tmp_path / "run" / "skipped.tsv").read_text().splitlines()[1:]
    assert listed == [f"{first.id}\ttoo short for its transcript, or not aligned\t{first.supervisions[0].text}"]


def test_another_models_alignment_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.pt: no such alignment; augmem align"):
        trainer(folders, tmp_path, alignment=str(tmp_path / "none.pt"))
    description = trainer(folders, tmp_path).model.description
    write_labels(tmp_path / "other.pt", {"a": [1]}, replace(description, topology="hmm"))
    with pytest.raises(ValueError, match=r"other\.pt: .* not this model's \(topology hmm instead of ctc\)"):
        trainer(folders, tmp_path, alignment=str(tmp_path / "other.pt"))
    (tmp_path / "junk.pt").write_text("junk")
    with pytest.raises(ValueError, match=r"junk\.pt: not a file of frame labels"):
        trainer(folders, tmp_path, alignment=str(tmp_path / "junk.pt"))


def test_one_bad_update_is_left_out_and_the_run_goes_on(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run = trainer(folders, tmp_path)
    bad = cut("bad", "ONE", np.full((100, 20), math.nan, np.float32))
    run.train_cuts = CutSet.from_cuts([*CUTS, bad])
    assert run.run()
    losses = [line["loss"] for line in steps(tmp_path)]
    assert 0 < sum(not math.isfinite(float(loss)) for loss in losses) < len(losses)
    assert all(torch.isfinite(value).all() for value in run.model.parameters())


def test_a_run_that_diverges_ends_with_its_batch_on_disk(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run = trainer(folders, tmp_path, epochs=50, learning_rate=1e30, clip=1e30, max_nonfinite=3)
    with pytest.raises(ArithmeticError, match="4 updates in a row were not finite; the last batch is in"):
        run.run()
    dump = torch.load(tmp_path / "nonfinite-batch-0.pt")
    assert set(dump["ids"]) <= {item.id for item in CUTS} and len(dump["texts"]) == len(dump["features"])


def test_an_utterance_too_short_for_its_words_is_listed(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run = trainer(folders, tmp_path)
    run.train_cuts = CutSet.from_cuts([*CUTS, noise("short", "ONE TWO ONE TWO ONE", frames=20)])
    assert run.run()
    assert (tmp_path / "skipped.tsv").read_text().splitlines()[1:] == [
        "short\ttoo short for its transcript\tONE TWO ONE TWO ONE"
    ]


class Killed(Exception):  # noqa: N818
    """The end of a run in the midst of an update."""


def killed_after(updates: int, run: Trainer) -> Trainer:
    """A run that dies while it computes the gradient of its next update."""
    backward, left = run._backward, iter(range(updates))

    def dying(*arguments: Any) -> Any:
        if next(left, None) is None:
            raise Killed
        return backward(*arguments)

    run._backward = dying  # type: ignore[method-assign]
    return run


def test_a_run_in_pieces_equals_a_run_at_once(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Bit for bit, though each piece is a trainer of its own (dropout is on)."""
    whole = trainer(folders, tmp_path / "whole")
    whole.run()
    for updates in (1, 3):
        with pytest.raises(Killed):
            killed_after(updates, trainer(folders, tmp_path / "pieces", checkpoint_every=1)).run()
    rest = trainer(folders, tmp_path / "pieces", checkpoint_every=1)
    assert rest.at.step == 4 and rest.run()
    for mine, other in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        assert torch.equal(mine, other)


def stored(cuts: CutSet, form: Literal["archive", "shar"], folder: Path) -> CutSet:
    """The cuts with their features in files of three."""
    folder.mkdir()
    eager, storage = list(cuts), StorageConfig(form, file_cuts=3)
    blocks = [eager[first : first + 3] for first in range(0, len(eager), 3)]
    written = [cut for number, block in enumerate(blocks) for cut in write_features(storage, block, folder, number)]
    return CutSet.from_cuts(written).with_features_path_prefix(folder)


def test_training_from_shar_is_training_from_the_archive(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Bit for bit, though the one is killed and resumed."""
    archive, shar = stored(CUTS, "archive", tmp_path / "lca"), stored(CUTS, "shar", tmp_path / "tar")
    whole = trainer(folders, tmp_path / "whole", archive)
    assert whole.run()
    with pytest.raises(Killed):
        killed_after(3, trainer(folders, tmp_path / "pieces", shar, checkpoint_every=1)).run()
    rest = trainer(folders, tmp_path / "pieces", shar, checkpoint_every=1)
    assert rest.at.step > 0 and rest.run()
    losses = [[line["loss"] for line in steps(tmp_path / name)] for name in ("whole", "pieces")]
    assert len(losses[0]) == whole.total_steps and losses[0] == losses[1]
    for mine, other in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("weights", ["best", "running"])
def test_a_model_of_other_weights_survives_a_kill(folders: tuple[Path, Path], tmp_path: Path, weights: str) -> None:
    """What model.pt is made of comes through a resume."""
    changes: dict = {
        "checkpoint_averaging": weights, "epochs": 3, "ctc_epochs": 0, "hand_over_epochs": 0, "learning_rate": 0.01,
    }  # fmt: skip
    assert trainer(folders, tmp_path / "whole", **changes).run()
    with pytest.raises(Killed):
        killed_after(6, trainer(folders, tmp_path / "pieces", checkpoint_every=1, **changes)).run()
    assert trainer(folders, tmp_path / "pieces", checkpoint_every=1, **changes).run()
    whole, pieces = (AcousticModel.load(tmp_path / name / "model.pt").state_dict() for name in ("whole", "pieces"))
    assert all(torch.equal(value, pieces[name]) for name, value in whole.items())
    last = AcousticModel.load(tmp_path / "whole" / "epoch-3.pt").state_dict()
    assert weights == "best" or any(not torch.equal(value, last[name]) for name, value in whole.items())


def test_a_run_that_no_longer_improves_stops_early(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run = trainer(folders, tmp_path, epochs=50, ctc_epochs=0, hand_over_epochs=0, learning_rate=1e-30, patience=2)
    assert run.run() and run.at.epoch < 50
    assert trainer(folders, tmp_path, epochs=50, ctc_epochs=0, hand_over_epochs=0).at.epoch == run.at.epoch


def test_bfloat16_follows_float32(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """A lower precision of the encoder changes the losses a little, never their kind."""
    for precision in ("float32", "bfloat16"):
        assert trainer(folders, tmp_path / precision, precision=precision, learning_rate=0.01).run()
    exact, rough = ([line["loss"] for line in steps(tmp_path / name)] for name in ("float32", "bfloat16"))
    assert exact != rough and rough == pytest.approx(exact, rel=0.05)


def test_utterances_that_spoil_an_update_are_listed(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run = trainer(folders, tmp_path)
    bad = cut("bad", "ONE", np.full((100, 20), math.nan, np.float32))
    run.train_cuts = CutSet.from_cuts([*CUTS, bad])
    assert run.run()
    assert (tmp_path / "skipped.tsv").read_text().splitlines()[1:] == ["bad\tnot finite\tONE"]


SESSIONS = replace(BATCHES, session_cuts=3)


def test_memory_goes_from_update_to_update_through_a_kill(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Bit for bit, and otherwise than without memory of what came before."""
    whole = trainer(folders, tmp_path / "whole", batches=SESSIONS)
    assert whole.run()
    with pytest.raises(Killed):
        killed_after(5, trainer(folders, tmp_path / "pieces", batches=SESSIONS, checkpoint_every=1)).run()
    assert trainer(folders, tmp_path / "pieces", batches=SESSIONS, checkpoint_every=1).run()
    forgetful = trainer(folders, tmp_path / "forgetful", batches=SESSIONS)
    forgetful.lanes = None
    assert forgetful.run()
    losses = {name: [line["loss"] for line in steps(tmp_path / name)] for name in ("whole", "pieces", "forgetful")}
    assert losses["whole"] == losses["pieces"]
    assert losses["whole"][0] == losses["forgetful"][0] and losses["whole"][1:] != losses["forgetful"][1:]


def test_sessions_need_an_encoder_with_memory(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"session_cuts is 3: sessions need encoder.type augmented_memory"):
        trainer(folders, tmp_path, batches=SESSIONS, accumulate=2)


@given(st.dictionaries(st.integers(1, 30), st.floats(0, 5), min_size=1), st.integers(1, 5))
def test_the_best_epochs_are_no_worse_than_the_others(losses: dict[int, float], count: int) -> None:
    best = best_epochs(losses, count)
    assert best == sorted(best) and len(best) == min(count, len(losses))
    others = [loss for epoch, loss in losses.items() if epoch not in best]
    assert max(losses[epoch] for epoch in best) <= min(others, default=math.inf)


def test_the_running_average_is_the_weighted_sum_of_all_weights() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    history = [1.0, 4.0, -2.0, 8.0]
    model.weight.data.fill_(history[0])
    average = RunningAverage(model, decay=0.2)
    for value in history[1:]:
        model.weight.data.fill_(value)
        average.update(model)
    keep = [0.1, 2 / 11, 0.2]  # n / (n + 9), at most the decay
    shares = [math.prod(keep)] + [(1 - keep[n]) * math.prod(keep[n + 1 :]) for n in range(3)]
    assert sum(shares) == pytest.approx(1)
    assert float(average.weights["weight"]) == pytest.approx(sum(s * v for s, v in zip(shares, history, strict=True)))

"""Training with a tiny lang folder, real graphs and random features."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import numpy as np
import pytest
import torch
from lhotse import CutSet, Features, MonoCut, SupervisionSegment
from lhotse.features.io import MemoryRawWriter

from augmem.corpus import Batch, BatchConfig, SpecAugmentConfig, StorageConfig, write_features
from augmem.decoding import Aligner
from augmem.encoder import MEMORIES, EncoderConfig
from augmem.errors import UserError
from augmem.lang import Lang
from augmem.model import AcousticModel, ModelDescription
from augmem.tensors import load_tensors, unflatten_tree
from augmem.training import Trainer, TrainingConfig, build_trainer, write_labels
from augmem.training.trainer import BATCH_FORMAT
from augmem.training.validation import collapse_outputs
from tests.encoder.small import RIVALS
from tests.tiny import TEXTS, make_lang_and_graphs

ENCODER = EncoderConfig(dim=16, heads=2, feedforward_dim=16, layers=1, frontend_channels=(2, 2), centre=0.32)
BATCHES = BatchConfig(max_duration=2.5, num_buckets=1, workers=0, spec_augment=SpecAugmentConfig(enabled=False))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_lang_and_graphs(tmp_path_factory.mktemp("tiny"))


def cut(name: str, text: str, features: np.ndarray) -> MonoCut:
    """Return an utterance with features and without audio."""
    frames, bins = features.shape
    segment = SupervisionSegment(name, name, 0, frames / 100, text=text)
    stored = MemoryRawWriter().write(name, features)
    matrix = Features("fbank", frames, bins, 0.01, 16000, 0, frames / 100, MemoryRawWriter.name, "", stored)
    return MonoCut(name, 0, frames / 100, 0, features=matrix, supervisions=[segment])


def noise(name: str, text: str, frames: int = 100) -> MonoCut:
    random = np.random.default_rng(crc32(name.encode()))
    return cut(name, text, random.normal(size=(frames, 20)).astype(np.float32))


CUTS = CutSet.from_cuts([noise(f"utterance{i}", text) for i, text in enumerate(TEXTS * 2)])
NAN_CUT = cut("bad", "ONE", np.full((100, 20), math.nan, np.float32))


def trainer(folders: tuple[Path, Path], output: Path, cuts: CutSet = CUTS, **changes: object) -> Trainer:
    lang, graphs = folders
    output.mkdir(exist_ok=True)
    units = Lang.load(lang)
    shape: dict = {name: changes.pop(name) for name in vars(ENCODER).keys() & changes.keys()}
    description = ModelDescription(replace(ENCODER, **shape), 20, 0.01, units.num_units, units.units_hash)
    settings: dict = {"epochs": 2, "warmup_steps": 2, "ctc_epochs": 1, "hand_over_epochs": 0.5, "log_every": 1}
    config = TrainingConfig(**(settings | {"batches": BATCHES, "average_epochs": 1} | changes))
    return build_trainer(config, description, lang, graphs, cuts, cuts, output)


def with_train_cuts(run: Trainer, cuts: CutSet) -> Trainer:
    """Return an untrained trainer of the same model on other cuts; the feature statistics stay."""
    return Trainer(run.config, run.model, run.objective, cuts, run.dev_cuts, run.output, run.context)


def steps(output: Path) -> list[dict]:
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "step"]


def test_the_loss_falls_under_ctc_then_mmi(folders: tuple[Path, Path], tmp_path: Path) -> None:
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
def test_the_loss_falls_with_boosted_mmi_and_with_iterated_loss(
    folders: tuple[Path, Path], tmp_path: Path, changes: dict
) -> None:
    run = trainer(folders, tmp_path, epochs=10, learning_rate=0.01, **changes)
    before = {name: value.clone() for name, value in run.model.named_parameters()}
    assert run.run()
    losses = [line["loss"] for line in steps(tmp_path) if line["ctc_weight"] == ("boost" not in changes)]
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    assert all(not torch.equal(before[name], value) for name, value in run.model.named_parameters())
    assert any("auxiliary" in name for name in before) == ("iterated_loss_layers" in changes)
    AcousticModel.load(tmp_path / "model.safetensors", folders[0])


@pytest.mark.parametrize("kind", RIVALS)
def test_other_encoders_are_trained(folders: tuple[Path, Path], tmp_path: Path, kind: str) -> None:
    shape = {"layers": 2, "frame_schedule": (0.02, 0.08)} if kind == "pro_scale" else {"layers": 2}
    run = trainer(folders, tmp_path, learning_rate=0.01, type=kind, **shape)
    before = {name: value.clone() for name, value in run.model.named_parameters()}
    assert run.run()
    ctc = [line["loss"] for line in steps(tmp_path) if line["ctc_weight"] == 1]
    assert ctc[-1] < 0.9 * ctc[0]
    assert all(not torch.equal(before[name], value) for name, value in run.model.named_parameters())
    AcousticModel.load(tmp_path / "model.safetensors", folders[0])


def test_the_cross_entropy_to_an_alignment_falls(folders: tuple[Path, Path], tmp_path: Path) -> None:
    lang, (first, *others) = Lang.load(folders[0]), CUTS
    teacher = trainer(folders, tmp_path / "teacher").model.eval()
    aligner, labels = Aligner(lang, "ctc", float), {}
    for item in others:
        features = torch.from_numpy(item.load_features())[None]
        log_probs, _ = teacher(features, torch.tensor([features.shape[1]]))
        labels[item.id] = aligner.align(log_probs[0].detach(), item.supervisions[0].text).outputs
        assert collapse_outputs(lang, labels[item.id], range(lang.num_units)) in [
            [unit for unit in units if unit != lang.tokens["SIL"]]
            for units in [[u for word in item.supervisions[0].text.split() for u in lang.pronunciations[word][0]]]
        ]
    write_labels(tmp_path / "labels.safetensors", labels, teacher.description)
    alignment = str(tmp_path / "labels.safetensors")
    run = trainer(folders, tmp_path / "run", epochs=12, ctc_epochs=10, learning_rate=0.01, alignment=alignment)
    assert run.run()
    losses = [line["loss"] for line in steps(tmp_path / "run") if line["ctc_weight"] == 1]
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])
    assert steps(tmp_path / "run")[-1]["ctc_weight"] < 1, "training ends with LF-MMI"
    listed = (tmp_path / "run" / "skipped.tsv").read_text().splitlines()[1:]
    assert listed == [f"{first.id}\ttoo short for its transcript, or not aligned\t{first.supervisions[0].text}"]


def test_an_alignment_of_other_outputs_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors does not exist; create it with augmem align"):
        trainer(folders, tmp_path, alignment=str(tmp_path / "none.safetensors"))
    description = trainer(folders, tmp_path).model.description
    write_labels(tmp_path / "other.safetensors", {"a": [1]}, replace(description, topology="hmm"))
    with pytest.raises(
        UserError,
        match=r"other\.safetensors: aligned with a model that has other outputs \(topology hmm, expected ctc\)",
    ):
        trainer(folders, tmp_path, alignment=str(tmp_path / "other.safetensors"))
    (tmp_path / "junk.safetensors").write_text("junk")
    with pytest.raises(UserError, match=r"junk\.safetensors: not a file of frame labels, or damaged"):
        trainer(folders, tmp_path, alignment=str(tmp_path / "junk.safetensors"))


def test_a_nonfinite_step_is_skipped(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run = with_train_cuts(trainer(folders, tmp_path), CutSet.from_cuts([*CUTS, NAN_CUT]))
    assert run.run()
    losses = [line["loss"] for line in steps(tmp_path)]
    assert 0 < sum(not math.isfinite(float(loss)) for loss in losses) < len(losses)
    assert all(torch.isfinite(value).all() for value in run.model.parameters())


def test_divergence_fails_and_saves_the_batch(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run = trainer(folders, tmp_path, epochs=50, learning_rate=1e30, clip=1e30, max_nonfinite=3)
    with pytest.raises(UserError, match="of 4 steps in a row was not finite; the last batch is in"):
        run.run()
    tensors, texts = load_tensors(tmp_path / "nonfinite-batch-0.safetensors", BATCH_FORMAT)
    dump = unflatten_tree(tensors, texts["batch"])
    assert set(dump["ids"]) <= {item.id for item in CUTS} and len(dump["texts"]) == len(dump["features"])


def test_an_utterance_shorter_than_its_transcript_is_listed_as_skipped(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    short = noise("short", "ONE TWO ONE TWO ONE", frames=20)
    run = with_train_cuts(trainer(folders, tmp_path), CutSet.from_cuts([*CUTS, short]))
    assert run.run()
    assert (tmp_path / "skipped.tsv").read_text().splitlines()[1:] == [
        "short\ttoo short for its transcript\tONE TWO ONE TWO ONE"
    ]


class InterruptedRun(Exception):  # noqa: N818
    """Ends a run in the middle of a step."""


def interrupt_after(number: int, run: Trainer) -> Trainer:
    """Make a run fail in the forward pass of the step after `number` steps."""
    forward, left = run._forward, iter(range(number))

    def interrupted_forward(batch: Batch) -> Any:
        if next(left, None) is None:
            raise InterruptedRun
        return forward(batch)

    run._forward = interrupted_forward  # type: ignore[method-assign]
    return run


def test_a_resumed_run_equals_an_uninterrupted_one(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Bit for bit, with dropout."""
    whole = trainer(folders, tmp_path / "whole")
    whole.run()
    for updates in (1, 3):
        with pytest.raises(InterruptedRun):
            interrupt_after(updates, trainer(folders, tmp_path / "pieces", checkpoint_every=1)).run()
    rest = trainer(folders, tmp_path / "pieces", checkpoint_every=1)
    rest.resume()
    assert rest.position.step == 4 and rest.run()
    for mine, other in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        assert torch.equal(mine, other)


def store(cuts: CutSet, form: Literal["archive", "shar"], folder: Path) -> CutSet:
    """Return the cuts with their features stored in files of three."""
    folder.mkdir()
    eager, storage = list(cuts), StorageConfig(form, file_cuts=3)
    blocks = [eager[first : first + 3] for first in range(0, len(eager), 3)]
    written = [cut for number, block in enumerate(blocks) for cut in write_features(storage, block, folder, number)]
    return CutSet.from_cuts(written).with_features_path_prefix(folder)


def test_training_from_shar_equals_training_from_an_archive(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Bit for bit, although one run is interrupted and resumed."""
    archive, shar = store(CUTS, "archive", tmp_path / "lca"), store(CUTS, "shar", tmp_path / "tar")
    whole = trainer(folders, tmp_path / "whole", archive)
    assert whole.run()
    with pytest.raises(InterruptedRun):
        interrupt_after(3, trainer(folders, tmp_path / "pieces", shar, checkpoint_every=1)).run()
    rest = trainer(folders, tmp_path / "pieces", shar, checkpoint_every=1)
    rest.resume()
    assert rest.position.step > 0 and rest.run()
    losses = [[line["loss"] for line in steps(tmp_path / name)] for name in ("whole", "pieces")]
    assert len(losses[0]) == whole.schedule.total_steps and losses[0] == losses[1]
    for mine, other in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("weights", ["best", "running"])
def test_the_averaged_model_of_a_resumed_run_is_the_same(
    folders: tuple[Path, Path], tmp_path: Path, weights: str
) -> None:
    changes: dict = {
        "checkpoint_averaging": weights, "epochs": 3, "ctc_epochs": 0, "hand_over_epochs": 0, "learning_rate": 0.01,
    }  # fmt: skip
    assert trainer(folders, tmp_path / "whole", **changes).run()
    with pytest.raises(InterruptedRun):
        interrupt_after(6, trainer(folders, tmp_path / "pieces", checkpoint_every=1, **changes)).run()
    assert trainer(folders, tmp_path / "pieces", checkpoint_every=1, **changes).run()
    whole, pieces = (
        AcousticModel.load(tmp_path / name / "model.safetensors").state_dict() for name in ("whole", "pieces")
    )
    assert all(torch.equal(value, pieces[name]) for name, value in whole.items())
    last = AcousticModel.load(tmp_path / "whole" / "epoch-3.safetensors").state_dict()
    assert weights == "best" or any(not torch.equal(value, last[name]) for name, value in whole.items())


def test_early_stopping_after_patience_epochs(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run = trainer(folders, tmp_path, epochs=50, ctc_epochs=0, hand_over_epochs=0, learning_rate=1e-30, patience=2)
    assert run.run() and run.position.epoch < 50
    resumed = trainer(folders, tmp_path, epochs=50, ctc_epochs=0, hand_over_epochs=0)
    resumed.resume()
    assert resumed.position.epoch == run.position.epoch


def test_bfloat16_follows_float32(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for precision in ("float32", "bfloat16"):
        assert trainer(folders, tmp_path / precision, precision=precision, learning_rate=0.01).run()
    exact, rough = ([line["loss"] for line in steps(tmp_path / name)] for name in ("float32", "bfloat16"))
    assert exact != rough and rough == pytest.approx(exact, rel=0.05)


def test_an_utterance_with_nonfinite_features_is_listed_as_skipped(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run = with_train_cuts(trainer(folders, tmp_path), CutSet.from_cuts([*CUTS, NAN_CUT]))
    assert run.run()
    assert (tmp_path / "skipped.tsv").read_text().splitlines()[1:] == ["bad\tnot finite\tONE"]


SESSIONS = replace(BATCHES, session_cuts=3)


def test_session_memory_is_restored_when_training_resumes(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Bit for bit, and the losses differ from those without session memory."""
    whole = trainer(folders, tmp_path / "whole", batches=SESSIONS)
    assert whole.run()
    with pytest.raises(InterruptedRun):
        interrupt_after(5, trainer(folders, tmp_path / "pieces", batches=SESSIONS, checkpoint_every=1)).run()
    assert trainer(folders, tmp_path / "pieces", batches=SESSIONS, checkpoint_every=1).run()
    without_memory = trainer(folders, tmp_path / "without_memory", batches=SESSIONS)
    without_memory.session_memory = None
    assert without_memory.run()
    losses = {name: [line["loss"] for line in steps(tmp_path / name)] for name in ("whole", "pieces", "without_memory")}
    assert losses["whole"] == losses["pieces"]
    assert losses["whole"][0] == losses["without_memory"][0] and losses["whole"][1:] != losses["without_memory"][1:]


@pytest.mark.parametrize("kind", [kind for kind in MEMORIES if kind != "slots"])
def test_kinds_of_memory_train_in_sessions_and_stream(folders: tuple[Path, Path], tmp_path: Path, kind: Any) -> None:
    run = trainer(folders, tmp_path, batches=SESSIONS, layers=2, memory=kind)
    before = {name: value.clone() for name, value in run.model.named_parameters()}
    assert run.run()
    assert all(not torch.equal(before[name], value) for name, value in run.model.named_parameters())
    model = AcousticModel.load(tmp_path / "model.safetensors", folders[0]).eval()
    features = torch.from_numpy(CUTS[0].load_features())[None]
    with torch.no_grad():
        whole, _ = model(features, torch.tensor([features.size(1)]))
        first, state = model.step(features[:, :70], model.init_state(1), False)
        rest, _ = model.step(features[:, 70:], state, True)
    torch.testing.assert_close(torch.cat([first, rest], 1), whole, rtol=0, atol=1e-4)


def test_gradients_through_memory_change_training(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """The first loss does not depend on gradients; all slots of the steps before are constants."""
    losses = []
    for slots in (1, 100):
        changes = {"batches": SESSIONS, "accumulate": 3, "memory_gradient_slots": slots, "epochs": 3}
        run = trainer(folders, tmp_path / str(slots), learning_rate=0.01, **changes)
        assert run.run() and run.session_memory and not run.session_memory.memory.values.requires_grad
        losses.append([line["loss"] for line in steps(tmp_path / str(slots))])
    assert losses[0][0] == losses[1][0] and losses[0][1:] != losses[1][1:]
    with pytest.raises(UserError, match="needs one process, not 3: give --processes 1"):
        run.config.check_processes(3)


def test_sessions_need_an_encoder_with_memory(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"training.batches.session_cuts is 3: sessions need encoder.type augmented_memory"
    ):
        trainer(folders, tmp_path, batches=SESSIONS, accumulate=2)


def test_a_checkpoint_of_another_model_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    assert trainer(folders, tmp_path, epochs=1).run()
    with pytest.raises(UserError, match=r"checkpoint-\d+\.safetensors: not a checkpoint of this model .*delete"):
        trainer(folders, tmp_path, dim=32).run()


def test_the_time_limit_ends_a_run_that_can_be_continued(
    folders: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "augmem"):
        assert not trainer(folders, tmp_path).run(max_minutes=0)
    assert "time limit reached at step 0/" in caplog.text
    assert trainer(folders, tmp_path).run()

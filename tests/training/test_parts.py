"""Schedules, checkpoints and the log: the parts of the training loop that can be seen alone."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from augmem.files import sha256_file
from augmem.training import TrainingConfig, read_log
from augmem.training.checkpoint import checkpoints, newest_checkpoint, save_checkpoint
from augmem.training.metrics import Log
from augmem.training.schedule import ctc_weight, learning_rate
from augmem.training.validation import best_path_units


def test_the_learning_rate_rises_then_falls_to_its_end() -> None:
    config = TrainingConfig(learning_rate=1e-3, warmup_steps=10, min_lr_ratio=0.1)
    rates = [learning_rate(config, step, 100) for step in range(101)]
    assert all(earlier < later for earlier, later in pairwise(rates[:11]))
    assert all(earlier > later for earlier, later in pairwise(rates[10:]))
    assert rates[10] == pytest.approx(1e-3) and rates[100] == pytest.approx(1e-4)


@given(start=st.floats(0, 10), length=st.floats(0, 5), floor=st.floats(0, 1), at=st.floats(0, 20))
def test_ctc_hands_over_and_never_takes_back(start: float, length: float, floor: float, at: float) -> None:
    config = TrainingConfig(ctc_epochs=start, hand_over_epochs=length, ctc_floor=floor)
    weight, later = ctc_weight(config, at), ctc_weight(config, at + 0.25)
    assert floor - 1e-9 <= later <= weight <= 1
    assert ctc_weight(config, start) == 1
    assert ctc_weight(config, start + length + 1e-6) == pytest.approx(floor, abs=1e-3)


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"step": step}, keep=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-00000003.pt", "checkpoint-00000002.pt"]
    assert not (tmp_path / "checkpoint-00000001.pt.sha256").exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "unhashed"])
def test_a_damaged_checkpoint_is_named_and_passed_over(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        newest = save_checkpoint(tmp_path, step, {"step": step, "weights": torch.ones(100)}, keep=2)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 255
    if damage == "unhashed":
        (tmp_path / f"{newest.name}.sha256").unlink()
    else:
        newest.write_bytes(content[:50] if damage == "cut" else content)
    with caplog.at_level(logging.WARNING):
        found = newest_checkpoint(tmp_path)
    assert found is not None and found[1]["step"] == 1
    assert "checkpoint-00000002.pt is damaged" in caplog.text


def test_a_kill_while_a_checkpoint_is_replaced_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch that ends with a checkpoint's update writes it twice, and it may be the only one."""
    path = save_checkpoint(tmp_path, 7, {"epoch": 0}, keep=1)

    def killed(place: Path) -> None:
        if place.name.startswith(f".{path.name}.partial"):
            raise KeyboardInterrupt

    monkeypatch.setattr("augmem.files.sync", killed)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, 7, {"epoch": 1}, keep=1)
    found = newest_checkpoint(tmp_path)
    assert found is not None and found[1] == {"epoch": 0}
    monkeypatch.undo()
    save_checkpoint(tmp_path, 7, {"epoch": 1}, keep=1)
    found = newest_checkpoint(tmp_path)
    assert found is not None and found[1] == {"epoch": 1}
    assert (tmp_path / f"{path.name}.sha256").read_text() == f"{sha256_file(path)}  {path.name}\n"


def test_the_log_goes_on_without_a_seam(tmp_path: Path) -> None:
    log = Log(tmp_path, 0)
    for step in (10, 20, 30):
        log.write("step", step, {"loss": 1.0 / step})
    log.close()
    with (tmp_path / "log.jsonl").open("a") as stream:
        stream.write('{"kind": "step", "st')  # killed while writing
    resumed = Log(tmp_path, 20)
    resumed.write("step", 30, {"loss": float("nan")})
    resumed.close()
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [10, 20, 30]
    assert read_log(tmp_path / "log.jsonl")[-1]["loss"] == "nan"


def test_best_path_merges_repetitions_and_drops_the_silent() -> None:
    class Units:
        blank = 0
        tokens = {"<eps>": 0, "SIL": 1, "AA": 2, "B": 3}  # noqa: RUF012

    assert best_path_units(Units(), [0, 1, 2, 2, 0, 5, 3, 4, 4, 3, 0], [0, 1, 2, 3, 1, 2]) == [2, 2, 3, 3]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "training.epochs is 0; it must be at least 1"),
        ({"learning_rate": 0.0}, "training.learning_rate is 0.0; it must be positive"),
        ({"ctc_floor": 1.5}, "training.ctc_floor is 1.5; it must be between 0 and 1"),
        ({"max_steps": 0}, "training.max_steps is 0; it must be null or at least 1"),
    ],
)
def test_bad_values_are_named(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**changes)  # type: ignore[arg-type]

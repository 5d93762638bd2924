"""The training log: continuation after an interruption, and the time left."""

from __future__ import annotations

import logging
import re
from itertools import pairwise
from pathlib import Path

import pytest

from augmem.training import TrainingConfig, read_log
from augmem.training.log import StepResult, TrainingLog
from augmem.training.metrics import LossStats, Timer
from augmem.training.schedule import Position


class Clock:
    """A clock set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


RESULT = StepResult(LossStats(loss=20.0, frames=10, input_frames=40), 0.001, 1.0, 0.5, True)


def log_steps(folder: Path, clock: Clock, number: int, seconds: float, **options: int) -> None:
    """Log `number` steps of 200 and two epochs, then an epoch whose validation takes 30 s."""
    with TrainingLog(folder, TrainingConfig(epochs=2, **options), total_steps=200, clock=clock) as log:
        log.start_epoch()
        for step in range(1, number + 1):
            clock.now += seconds
            log.log_step(Position(step, 0, step), RESULT, Timer())
        clock.now += 30
        log.log_epoch(Position(number, 1), {"dev_loss": 0.5, "dev_unit_error_rate": 0.25}, 90.0, finished=False)


def test_every_console_line_has_the_time_left_from_the_third_step_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "augmem"):
        log_steps(tmp_path, Clock(), number=100, seconds=3.0, log_every=5)
    assert caplog.messages[:2] == [
        "epoch 1/2, step 3/200: loss 2.000, learning rate 0.001, 9 min 51 s left",
        "epoch 1/2, step 10/200: loss 2.000, learning rate 0.001, 9 min 30 s left",
    ], "197 and 190 steps of 3 s are left"
    assert all(message.endswith(" left") for message in caplog.messages)
    steps = [int(match[1]) for match in map(re.compile(r"step (\d+)/").search, caplog.messages) if match]
    assert all(later - earlier >= 7 for earlier, later in pairwise(steps)), "lines are 20 s apart"
    assert caplog.messages[-1] == (
        "epoch 1/2: dev loss 0.500 per frame, dev unit error rate 25.0 %, took 1 min 30 s, 5 min 30 s left"
    ), "100 steps of 3 s and one more validation"


def test_log_jsonl_has_the_time_left_in_seconds(tmp_path: Path) -> None:
    log_steps(tmp_path, Clock(), number=20, seconds=1.0, log_every=10)
    lines = read_log(tmp_path / "log.jsonl")
    assert [(line["kind"], line["seconds_left"]) for line in lines] == [("step", 190), ("step", 180), ("epoch", 210)]


def test_a_resumed_log_has_each_step_once(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, TrainingConfig(), 100) as log:
        for step in (10, 20, 30):
            log.write("step", step, {"loss": 1.0 / step})
    with (tmp_path / "log.jsonl").open("a") as stream:
        stream.write('{"kind": "step", "st')  # killed while writing
    with TrainingLog(tmp_path, TrainingConfig(), 100, step=20) as log:
        log.write("step", 30, {"loss": float("nan")})
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [10, 20, 30]
    assert read_log(tmp_path / "log.jsonl")[-1]["loss"] == "nan"


@pytest.mark.parametrize(("share", "lines"), [(0.05, 1), (0.3, 2)])
def test_waiting_for_data_is_logged_with_the_option_that_helps(
    share: float, lines: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    figures = {"dev_loss": 0.5, "dev_unit_error_rate": 0.25, "waiting_for_data": share}
    with caplog.at_level(logging.INFO, "augmem"), TrainingLog(tmp_path, TrainingConfig(epochs=2), 200) as log:
        log.log_epoch(Position(1, 1), figures, 90.0, finished=True)
    assert [read_log(tmp_path / "log.jsonl")[0]["waiting_for_data"], len(caplog.messages)] == [share, lines]
    assert ("30 % of the time" in caplog.text and "training.batches.workers" in caplog.text) == (lines == 2)

"""Training log: log.jsonl, TensorBoard, and console lines with the time left."""

from __future__ import annotations

import json
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from augmem.corpus import Batch
from augmem.files import write_text
from augmem.progress import format_duration
from augmem.training.config import TrainingConfig
from augmem.training.metrics import LossStats, Timer
from augmem.training.schedule import Position

logger = logging.getLogger(__name__)

FIRST_LINE_STEPS = 3  # number of steps before the first console line
RECENT_STEPS = 100  # number of steps whose mean duration predicts the time left
LINE_INTERVAL = 20.0  # seconds between console lines
WAITING = 0.1  # share of waiting for data from which on it is logged to the console


@dataclass
class StepResult:
    """Result of one training step.

    Args:
        stats: sums over all ranks.
        learning_rate: learning rate of the step.
        ctc_weight: share of CTC in the loss.
        grad_norm: norm of the gradient per frame, before clipping.
        finite: whether loss and gradient were finite; if not, the weights were not updated.
        last_batch: last batch of this rank; None if it had none.
    """

    stats: LossStats
    learning_rate: float
    ctc_weight: float
    grad_norm: float
    finite: bool
    last_batch: Batch | None = None


class TimeLeft:
    """Estimate the time left from recent steps and from validations.

    Args:
        total_steps, total_epochs: numbers of steps and epochs of the run.

    Example:
        >>> left = TimeLeft(total_steps=100, total_epochs=2)
        >>> left.add_step(0.5)
        >>> left.add_validation(4.0)
        >>> left.seconds(Position(step=60, epoch=1))
        24.0
    """

    def __init__(self, total_steps: int, total_epochs: int) -> None:
        self.total_steps, self.total_epochs = total_steps, total_epochs
        self.steps: deque[float] = deque(maxlen=RECENT_STEPS)
        self.validation = 0.0

    def add_step(self, seconds: float) -> None:
        """Add the duration of a step."""
        self.steps.append(seconds)

    def add_validation(self, seconds: float) -> None:
        """Set the duration of a validation."""
        self.validation = seconds

    def seconds(self, at: Position) -> float:
        """Return the estimate in seconds; nan before the first step."""
        if at.step >= self.total_steps:
            return 0.0
        steps = list(self.steps)[1:] or self.steps  # without the first one, which includes the start of the data loader
        per_step = sum(steps) / len(steps) if steps else math.nan
        return per_step * (self.total_steps - at.step) + self.validation * (self.total_epochs - at.epoch)


class TrainingLog:
    """Log of a run, written by rank 0; a context manager.

    Args:
        folder: folder of log.jsonl and tensorboard/.
        config: epochs and log interval.
        total_steps: number of steps of the run.
        step: number of completed steps. Lines of later steps come from an interrupted run and are removed, because
            these steps are repeated.
        clock: returns seconds; replaced in tests.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainingConfig,
        total_steps: int,
        step: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes a second to import

        self.path, self.config, self.total_steps = folder / "log.jsonl", config, total_steps
        self.left, self.stats = TimeLeft(total_steps, config.epochs), LossStats()
        self._clock, self._last_step, self._last_line, self._steps = clock, clock(), -math.inf, 0
        kept = [line for line in read_log(self.path) if line["step"] <= step]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        purge = {"purge_step": step + 1} if kept else {}
        self.board = SummaryWriter(str(folder / "tensorboard"), **purge)

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.board.close()

    def start_epoch(self) -> None:
        """Start timing the steps of an epoch."""
        self._last_step = self._clock()
        self.stats = LossStats()

    def log_step(self, at: Position, result: StepResult, timer: Timer) -> None:
        """Log a step: every `log_every` steps to the files, less often to the console.

        Args:
            at: position after the step.
            result: result of the step.
            timer: durations since the last line of log.jsonl; reset with each line.
        """
        now = self._clock()
        self.left.add_step(now - self._last_step)
        self._last_step, self._steps = now, self._steps + 1
        self.stats += result.stats
        due = at.step % self.config.log_every == 0
        if self._steps == FIRST_LINE_STEPS or (due and now >= self._last_line + LINE_INTERVAL):
            self._last_line = now
            self._log_line(at, result)
        if due:
            self.write("step", at.step, self._step_metrics(at, result, timer))
            self.stats = LossStats()
            timer.reset()

    def _log_line(self, at: Position, result: StepResult) -> None:
        logger.info(
            "epoch %d/%d, step %d/%d: loss %.3f, learning rate %.2g, %s",
            at.epoch + 1, self.config.epochs, at.step, self.total_steps, self.stats.means()["loss"],
            result.learning_rate, format_time_left(self.left.seconds(at)),
        )  # fmt: skip

    def _step_metrics(self, at: Position, result: StepResult, timer: Timer) -> dict[str, Any]:
        return self.stats.means() | {
            "epoch": at.epoch + 1,
            "learning_rate": result.learning_rate,
            "ctc_weight": result.ctc_weight,
            "grad_norm": result.grad_norm,
            "frames_per_second": self.stats.input_frames / max(timer.seconds, 1e-9),
            "seconds_left": self.left.seconds(at),
            "time": timer.shares(),
        }

    def log_epoch(self, at: Position, metrics: Mapping[str, float], seconds: float, finished: bool) -> None:
        """Log an epoch and its validation.

        Args:
            at: position after the epoch.
            metrics: validation metrics, and the share of waiting for data.
            seconds: duration of the epoch, validation included.
            finished: whether the run ends after it, for example by early stopping.
        """
        self.left.add_validation(self._clock() - self._last_step)
        left = 0.0 if finished else self.left.seconds(at)
        self.write("epoch", at.step, {"epoch": at.epoch, "minutes": seconds / 60, **metrics, "seconds_left": left})
        logger.info(
            "epoch %d/%d: dev loss %.3f per frame, dev unit error rate %.1f %%, took %s%s",
            at.epoch, self.config.epochs, metrics["dev_loss"], 100 * metrics["dev_unit_error_rate"],
            format_duration(seconds), f", {format_time_left(left)}" if left else "",
        )  # fmt: skip
        if (waiting := metrics.get("waiting_for_data", 0.0)) >= WAITING:
            logger.info(
                "epoch %d/%d: %.0f %% of the time of its steps was spent waiting for data; raise "
                "training.batches.workers", at.epoch, self.config.epochs, 100 * waiting,
            )  # fmt: skip

    def log_time_limit(self, at: Position) -> None:
        """Log that the run stops at its time limit."""
        logger.info(
            "time limit reached at step %d/%d, %s; run the same command again to continue",
            at.step, self.total_steps, format_time_left(self.left.seconds(at)),
        )  # fmt: skip

    def write(self, kind: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Append a line to log.jsonl and a point to each TensorBoard curve.

        Args:
            kind: step or epoch.
            step: number of the step.
            metrics: values by name.
        """
        metrics = {name: _round(value) for name, value in metrics.items()}
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"kind": kind, "step": step, **metrics}) + "\n")
        for name, value in _scalars(metrics):
            self.board.add_scalar(f"{kind}/{name}", value, step)


def format_time_left(seconds: float) -> str:
    """Format an estimate of `TimeLeft`.

    Example:
        >>> format_time_left(90), format_time_left(math.nan)
        ('1 min 30 s left', 'time left unknown')
    """
    return f"{format_duration(seconds)} left" if math.isfinite(seconds) else "time left unknown"


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a log.jsonl. A truncated last line is left out; a missing file has no lines."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def _scalars(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in metrics.items():
        if isinstance(value, dict):
            yield from ((f"{name}/{inner}", number) for inner, number in _scalars(value))
        elif isinstance(value, (int, float)):
            yield name, value


def _round(value: Any) -> Any:
    """Round to six significant digits; JSON has no non-finite numbers, so these become strings."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    return value

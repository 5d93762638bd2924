"""Health of a run: sums over utterances and frames, and where they are written (log.jsonl and TensorBoard)."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import torch

T = TypeVar("T")


@dataclass
class Sums:
    """Sums over the utterances seen since the last log line. They add up over batches and processes.

    Scores are total log scores in nats, of valid utterances only; `frames` are their output frames, and
    `input_frames` the feature frames of all utterances. `negative` counts utterances whose LF-MMI loss has the wrong
    sign: every numerator path is also a denominator path, so that can only be a mistake in a graph.
    """

    loss: float = 0.0
    ctc: float = 0.0
    numerator: float = 0.0
    denominator: float = 0.0
    frames: float = 0.0
    mmi_frames: float = 0.0
    input_frames: float = 0.0
    utterances: float = 0.0
    invalid: float = 0.0
    negative: float = 0.0

    def __iadd__(self, other: Sums) -> Sums:
        for name in (f.name for f in fields(self)):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def to_tensor(self) -> torch.Tensor:
        """All sums as a float64 vector, to be added up over processes."""
        return torch.tensor([getattr(self, f.name) for f in fields(self)], dtype=torch.float64)

    @classmethod
    def from_tensor(cls, values: torch.Tensor) -> Sums:
        """The inverse of `to_tensor`."""
        return cls(*values.tolist())

    def means(self) -> dict[str, float]:
        """Per-frame figures for the log; those of an objective that had no weight are left out."""
        figures = {"loss": _ratio(self.loss, self.frames)}
        if self.ctc:
            figures["ctc"] = _ratio(self.ctc, self.frames)
        if self.mmi_frames:
            figures["numerator"] = _ratio(self.numerator, self.mmi_frames)
            figures["denominator"] = _ratio(self.denominator, self.mmi_frames)
            figures["wrong_sign"] = self.negative
        return figures | {"invalid": self.invalid}


class Stopwatch:
    """Seconds spent per named part of the loop; what no part claims is the rest."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget everything and start now."""
        self.parts: dict[str, float] = {}
        self.started = perf_counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Charge the time of the block to a part."""
        began = perf_counter()
        try:
            yield
        finally:
            self.parts[name] = self.parts.get(name, 0.0) + perf_counter() - began

    def waiting(self, name: str, items: Iterator[T]) -> Iterator[T]:
        """The items, the waiting for each charged to a part."""
        while True:
            with self.part(name):
                item = next(items, None)
            if item is None:
                return
            yield item

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self.started

    def shares(self) -> dict[str, float]:
        """Share of the time since the start, by part."""
        total = max(self.seconds, 1e-9)
        return {name: round(seconds / total, 4) for name, seconds in sorted(self.parts.items())}


@dataclass
class Log:
    """log.jsonl and TensorBoard of one run, continued without a seam after a resume.

    Args:
        folder: gets log.jsonl and tensorboard/.
        step: updates already made. Lines of later updates come from a run that was killed before its next checkpoint;
            they are dropped, because those updates will be made again.
    """

    folder: Path
    step: int
    path: Path = field(init=False)

    def __post_init__(self) -> None:
        from torch.utils.tensorboard import SummaryWriter  # a second of imports, needed only here

        self.path = self.folder / "log.jsonl"
        kept = [line for line in read_log(self.path) if line["step"] <= self.step]
        self._rewrite(kept)
        purge = {"purge_step": self.step + 1} if kept else {}
        self.board = SummaryWriter(str(self.folder / "tensorboard"), **purge)

    def write(self, kind: str, step: int, figures: dict[str, Any]) -> None:
        """Append one line, and one point to each of TensorBoard's curves."""
        figures = {name: _rounded(value) for name, value in figures.items()}
        line = {"kind": kind, "step": step, **figures}
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        for name, value in _numbers(figures):
            self.board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Flush TensorBoard."""
        self.board.close()

    def _rewrite(self, lines: list[dict[str, Any]]) -> None:
        temporary = self.path.with_name(f".log.jsonl.partial-{os.getpid()}")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        temporary.rename(self.path)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log.jsonl; a last line cut short by a kill is left out, a missing file is empty."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def _numbers(figures: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from ((f"{name}/{inner}", number) for inner, number in _numbers(value))
        elif isinstance(value, (int, float)):
            yield name, value


def _rounded(value: Any) -> Any:
    """Six significant digits: enough for a curve, and short lines."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    return value


def _ratio(total: float, count: float) -> float:
    return total / count if count else 0.0

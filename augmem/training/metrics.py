"""Training metrics: sums over utterances and frames, and timings of the parts of a step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from time import perf_counter
from typing import TypeVar

import torch

T = TypeVar("T")


@dataclass
class LossStats:
    """Sums over utterances, which add up over batches, steps and ranks.

    Args:
        loss: training loss, in nats.
        ctc: CTC or cross-entropy loss, in nats.
        numerator, denominator: LF-MMI scores, in nats.
        frames: output frames of valid utterances.
        mmi_frames: output frames of valid utterances in batches with an LF-MMI loss.
        input_frames: feature frames of all utterances.
        utterances: number of utterances.
        invalid: number of utterances without a loss.
        negative: utterances with a negative LF-MMI loss. Every numerator path is also a denominator path, so a
            negative loss means that the graphs are wrong.

    Example:
        >>> stats = LossStats(loss=30.0, ctc=30.0, frames=10)
        >>> stats += LossStats(loss=10.0, ctc=10.0, frames=10)
        >>> stats.means()["loss"]
        2.0
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

    def __iadd__(self, other: LossStats) -> LossStats:
        for name in (f.name for f in fields(self)):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def to_tensor(self) -> torch.Tensor:
        """Return all sums as a float64 vector."""
        return torch.tensor([getattr(self, f.name) for f in fields(self)], dtype=torch.float64)

    @classmethod
    def from_tensor(cls, values: torch.Tensor) -> LossStats:
        """Read a vector that `to_tensor` returned."""
        return cls(*values.tolist())

    def means(self) -> dict[str, float]:
        """Return means per frame; objectives with weight zero are left out."""
        figures = {"loss": _ratio(self.loss, self.frames)}
        if self.ctc:
            figures["ctc"] = _ratio(self.ctc, self.frames)
        if self.mmi_frames:
            figures["numerator"] = _ratio(self.numerator, self.mmi_frames)
            figures["denominator"] = _ratio(self.denominator, self.mmi_frames)
            figures["negative_mmi"] = self.negative
        return figures | {"invalid": self.invalid}


class Timer:
    """Measure the time spent in named parts of the training loop.

    Example:
        >>> timer = Timer()
        >>> with timer.measure("encoder"):
        ...     pass
        >>> list(timer.shares())
        ['encoder']
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Clear all parts and start again."""
        self.parts: dict[str, float] = {}
        self.started = perf_counter()

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Add the duration of the block to a part."""
        began = perf_counter()
        try:
            yield
        finally:
            self.parts[name] = self.parts.get(name, 0.0) + perf_counter() - began

    def measure_items(self, name: str, items: Iterator[T]) -> Iterator[T]:
        """Yield the items; add the waiting time for each item to a part.

        Args:
            name: name of the part.
            items: iterator, such as a data loader; None ends it.
        """
        while True:
            with self.measure(name):
                item = next(items, None)
            if item is None:
                return
            yield item

    @property
    def seconds(self) -> float:
        """Seconds since the last reset."""
        return perf_counter() - self.started

    def shares(self) -> dict[str, float]:
        """Return the share of each part in the time since the last reset."""
        total = max(self.seconds, 1e-9)
        return {name: round(seconds / total, 4) for name, seconds in sorted(self.parts.items())}


def _ratio(total: float, count: float) -> float:
    return total / count if count else 0.0

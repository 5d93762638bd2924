"""Steps of a run, learning rate by step, and share of CTC in the loss by epoch.

All are pure functions of the position, so an exact resume needs no saved schedule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from augmem.training.config import TrainingConfig


@dataclass
class Position:
    """Progress of a run: steps made, epochs finished, batches of the current epoch processed."""

    step: int = 0
    epoch: int = 0
    batch: int = 0


@dataclass(frozen=True)
class Schedule:
    """Steps and step-dependent settings of a run.

    Args:
        config: epochs, accumulation, learning rate, objectives.
        batches_per_epoch: number of batches of each epoch.

    Example:
        >>> schedule = Schedule(TrainingConfig(epochs=2, accumulate=4), batches_per_epoch=[10, 10])
        >>> schedule.total_steps, schedule.steps_of_epoch(0)
        (6, [range(0, 4), range(4, 8), range(8, 10)])
    """

    config: TrainingConfig
    batches_per_epoch: Sequence[int]

    @property
    def total_steps(self) -> int:
        """Number of steps of the whole run."""
        planned = sum(-(-batches // self.config.accumulate) for batches in self.batches_per_epoch)
        return min(planned, self.config.max_steps or planned)

    def steps_of_epoch(self, epoch: int, first_batch: int = 0) -> list[range]:
        """Return the batch numbers of each remaining step of an epoch.

        Args:
            epoch: number of the epoch, from 0.
            first_batch: first batch of the epoch that has not been processed.
        """
        total, size = self.batches_per_epoch[epoch], self.config.accumulate
        return [range(first, min(first + size, total)) for first in range(first_batch, total, size)]

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step; the first step has number 0.

        Linear warm-up to `config.learning_rate`, then the half cosine of Loshchilov and Hutter (arXiv 1608.03983), or
        the inverse square root of Vaswani et al. (arXiv 1706.03762).
        """
        peak, total_steps = self.config.learning_rate, self.total_steps
        warmup = min(self.config.warmup_steps, total_steps)
        if step < warmup:
            return peak * (step + 1) / (warmup + 1)
        if self.config.schedule == "noam":
            return peak * math.sqrt(max(warmup, 1) / max(step, 1))
        done = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        return peak * _half_cosine(done, self.config.min_lr_ratio)

    def ctc_weight(self, epoch: int, batch: int = 0) -> float:
        """Return the share of CTC in the loss after `epoch` epochs and `batch` batches; LF-MMI has the rest.

        The share is 1 for `ctc_epochs`, then falls along half a cosine to `ctc_floor`: flat at both ends, because
        training is prone to diverge where the objective changes abruptly.
        """
        done = epoch + (batch / max(1, self.batches_per_epoch[epoch]) if batch else 0)
        after = done - self.config.ctc_epochs
        if after <= 0:
            return 1.0
        if after >= self.config.hand_over_epochs:
            return self.config.ctc_floor
        return _half_cosine(after / self.config.hand_over_epochs, self.config.ctc_floor)

    @property
    def final_ctc_weight(self) -> float:
        """Share of CTC in the loss at the end of the run."""
        return self.ctc_weight(self.config.epochs)


def _half_cosine(done: float, floor: float) -> float:
    """Return a value that falls from 1 to `floor` while `done` rises from 0 to 1."""
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))

"""What changes with time: the learning rate by update, and the share of CTC in the loss by epoch.

Pure functions of the position, so nothing of them has to be saved for an exact resume.
"""

from __future__ import annotations

import math

from augmem.training.config import TrainingConfig


def learning_rate(config: TrainingConfig, step: int, total_steps: int) -> float:
    """Learning rate of update `step` (the first is 0) of `total_steps`.

    Linear warm-up to `config.learning_rate`, then the half cosine of Loshchilov and Hutter (arXiv 1608.03983), or
    the inverse square root of Vaswani et al. (arXiv 1706.03762).
    """
    warmup = min(config.warmup_steps, total_steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    if config.schedule == "noam":
        return config.learning_rate * math.sqrt(max(warmup, 1) / max(step, 1))
    done = min(1.0, (step - warmup) / max(1, total_steps - warmup))
    share = 0.5 * (1 + math.cos(math.pi * done))
    return config.learning_rate * (config.min_lr_ratio + (1 - config.min_lr_ratio) * share)


def ctc_weight(config: TrainingConfig, epochs_done: float) -> float:
    """Share of CTC in the loss after `epochs_done` epochs (fractions count); LF-MMI has the rest.

    1 during the warm-up, then half a cosine down to `config.ctc_floor`: flat at both ends, so that the gradient does
    not jump where the objective changes (the switch is where such trainings diverge).
    """
    into = epochs_done - config.ctc_epochs
    if into <= 0:
        return 1.0
    if into >= config.hand_over_epochs:
        return config.ctc_floor
    share = 0.5 * (1 + math.cos(math.pi * into / config.hand_over_epochs))
    return config.ctc_floor + (1 - config.ctc_floor) * share

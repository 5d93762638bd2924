"""What an objective says of a batch, and the loss made of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

IMPOSSIBLE = -float("inf")


class Scores(NamedTuple):
    """Log scores of a batch of B utterances, kept apart so that a trainer can watch each.

    Args:
        numerator: (B,) log score of all ways to say the transcript; -inf if there is none.
        denominator: (B,) log score of everything else with it; zero for CTC.
        valid: (B,) whether the transcript fits the frames. Rows that are not valid have no gradient
            and no part in the loss: count and name them. A row of NaN is valid, so that NaN reaches the loss
            and is seen.
    """

    numerator: Tensor
    denominator: Tensor
    valid: Tensor

    def loss(self, den_scale: float = 1.0) -> Tensor:
        """Sum of -(numerator - den_scale * denominator) over valid utterances, in nats; 0 if none is."""
        gain = self.numerator - den_scale * self.denominator
        return -torch.where(self.valid, gain, torch.zeros_like(gain)).sum()


def make_scores(numerator: Tensor, denominator: Tensor | None = None) -> Scores:
    """Scores with the mask that belongs to them."""
    if denominator is None:
        denominator = torch.zeros_like(numerator)
    valid = (numerator != IMPOSSIBLE) & (denominator != IMPOSSIBLE)
    return Scores(numerator, denominator, valid.detach())


def handover_weight(step: float, start: float, length: float) -> float:
    """Weight of CTC on the way to LF-MMI: 1 until `start`, then linearly down to 0 over `length` steps.

    The loss is weight * CTC + (1 - weight) * LF-MMI: no sudden change of objective, which is where training
    with LF-MMI is known to diverge.
    """
    if step < start:
        return 1.0
    return max(0.0, 1.0 - (step - start) / length) if length > 0 else 0.0

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

"""Scores of an objective for a batch, and the loss computed from them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

IMPOSSIBLE = -float("inf")


class Scores(NamedTuple):
    """Log scores of a batch of B utterances.

    Args:
        numerator: (B,) total log score of the transcript; -inf if it has no path.
        denominator: (B,) total log score of all unit sequences; zero for CTC.
        valid: (B,) whether the transcript fits into the frames. Other rows have no gradient and do not contribute to
            the loss; the caller reports them. A row of NaN is valid, so that NaN reaches the loss.

    Example:
        >>> scores = make_scores(torch.tensor([-2.0, -torch.inf]))
        >>> scores.valid.tolist(), float(scores.loss())
        ([True, False], 2.0)
    """

    numerator: Tensor
    denominator: Tensor
    valid: Tensor

    def loss(self, den_scale: float = 1.0) -> Tensor:
        """Return the sum of -(numerator - den_scale * denominator) over valid utterances, in nats."""
        gain = self.numerator - den_scale * self.denominator
        return -self._sum(gain)

    def sums(self) -> dict[str, Tensor]:
        """Return sums over valid utterances: scores, and the number of those whose numerator is the greater one."""
        negative = (self.numerator > self.denominator + 1e-2).to(self.numerator.dtype)
        parts = {"numerator": self.numerator, "denominator": self.denominator, "negative": negative}
        return {name: self._sum(part.detach()) for name, part in parts.items()}

    def _sum(self, values: Tensor) -> Tensor:
        return torch.where(self.valid, values, torch.zeros_like(values)).sum()


def make_scores(numerator: Tensor, denominator: Tensor | None = None) -> Scores:
    """Return scores with their mask; without denominator it is zero."""
    if denominator is None:
        denominator = torch.zeros_like(numerator)
    valid = (numerator != IMPOSSIBLE) & (denominator != IMPOSSIBLE)
    return Scores(numerator, denominator, valid.detach())

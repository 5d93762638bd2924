"""Dropout that costs little on a CPU: eight decisions from each random word, where torch draws a word per
decision."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Zero elements with probability `rate` (rounded to 1/256) in training and scale the others up to
    match."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.threshold = min(round(rate * 256), 255)  # something must be left to scale up

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.threshold == 0:
            return x
        return x * keep_mask(x, self.threshold)

    def extra_repr(self) -> str:
        return f"rate={self.threshold}/256"


def keep_mask(x: Tensor, threshold: int) -> Tensor:
    """Shape, dtype and device of `x`: 0 with probability threshold/256, else the factor that keeps the
    mean."""
    words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device).random_(-(2**63), None)
    # Comparing in place and converting bytes, not bools, takes half the time on a CPU.
    keep = words.view(torch.uint8)[: x.numel()].view(x.shape).ge_(threshold)
    return keep.to(x.dtype).mul_(256 / (256 - threshold))

"""Layer normalisation that keeps its precision."""

from __future__ import annotations

from torch import Tensor, nn


class LayerNorm(nn.LayerNorm):
    """Computes in the precision of its weights whatever an autocast made of its input, as CUDA's autocast does."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))

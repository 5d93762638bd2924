"""Layer normalisation in full precision."""

from __future__ import annotations

from torch import Tensor, nn


class LayerNorm(nn.LayerNorm):
    """Layer normalisation in the precision of its weights under autocast on any device, as CUDA autocast does it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))

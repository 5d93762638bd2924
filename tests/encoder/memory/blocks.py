"""Blocks for tests of one kind of memory in one layer."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from augmem.encoder.attention import AugmentedMemoryAttention, Projections
from augmem.encoder.index import LayerIndex, index_layers
from augmem.encoder.segments import Plan, plan_segments
from tests.encoder.small import random_encoder, small_config


class Layer(NamedTuple):
    """Attention of one layer, rows of a batch of segments and what is needed to call it.

    Args:
        attention: the module.
        rows: (P, D) block rows.
        index: tables of the layer.
        plan: segments of the batch.
    """

    attention: AugmentedMemoryAttention
    rows: Tensor
    index: LayerIndex
    plan: Plan

    def project(self) -> Projections:
        """Project the rows."""
        return self.attention.project(self.rows, self.rows, self.index)


def make_layer(kind: str, lengths: list[int], **options: Any) -> Layer:
    """Return a layer with random weights and the rows of segments of 4 frames."""
    encoder = random_encoder(small_config(memory=kind, **options))
    plan = plan_segments(torch.tensor(lengths), 3, 4, 2)
    rows = torch.randn(plan.blocks.source.numel(), encoder.config.dim, dtype=torch.float64)
    lower, _ = index_layers(plan.blocks, encoder.config, rows)
    return Layer(encoder.layers[0].attention, rows, lower, plan)  # type: ignore[index, union-attr]

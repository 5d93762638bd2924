"""Plots of the attention of a trained model, for the report and for `augmem inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from augmem.corpus import load_cuts, stored_features
from augmem.encoder import attention_maps
from augmem.errors import UserError
from augmem.experiment import Experiment
from augmem.model import AcousticModel
from augmem.scoring import Picture, plot_attention


def attention_plots(experiment: Experiment, parts: Sequence[str]) -> list[Picture]:
    """Plot the attention of the last segment of the longest utterance; empty for encoders without a memory bank."""
    model = AcousticModel.load(experiment.model, experiment.lang)
    if experiment.recipe.encoder.type != "augmented_memory":
        return []
    cut = max(load_cuts(experiment.features, parts, in_memory=False), key=lambda c: (c.duration, c.id))
    attention = segment_attention(model, torch.from_numpy(stored_features(cut)))
    plot = plot_attention(attention.layers, attention.groups, model.frame_shift)
    return [Picture(plot, f"Segment {attention.segment + 1} of {cut.id}, all layers")]


class SegmentAttention(NamedTuple):
    """Attention of one segment.

    Args:
        segment: number, from 0.
        layers: weights (heads, queries, columns) of each layer.
        groups: names and widths of the groups of columns, from left to right.
    """

    segment: int
    layers: list[Any]
    groups: list[tuple[str, int]]


def segment_attention(model: AcousticModel, features: Tensor, segment: int | None = None) -> SegmentAttention:
    """Compute the attention weights of a segment in all layers.

    Args:
        model: a model whose encoder has a memory bank.
        features: features (T, F) of the utterance.
        segment: number, from 0; None: the last segment.

    Raises:
        UserError: the utterance has no such segment.
    """
    maps = attention_maps(model.encoder, model.normalise(features))
    last = max(item.segment for item in maps)
    number = last if segment is None else segment
    shown = [item for item in maps if item.segment == number]
    if not shown:
        raise UserError(f"segment {number + 1}: the utterance has segments 1 to {last + 1}")
    groups = [(name, getattr(shown[0], name)) for name in ("memory", "left", "centre", "right")]
    return SegmentAttention(number, [item.weights.numpy() for item in shown], groups)

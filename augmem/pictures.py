"""What a trained model attends to, as pictures for the report and for `augmem inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from augmem.corpus import load_cuts, stored_features
from augmem.encoder import attention_maps
from augmem.experiment import Experiment
from augmem.model import AcousticModel
from augmem.scoring import Picture, plot_attention


def attention_pictures(experiment: Experiment, parts: Sequence[str]) -> list[Picture]:
    """What the last segment of the longest dev utterance attends to; none for encoders without a memory."""
    model = AcousticModel.load(experiment.model, experiment.lang)
    if experiment.recipe.encoder.type != "augmented_memory":
        return []
    cut = max(load_cuts(experiment.features, parts, in_memory=False), key=lambda c: (c.duration, c.id))
    seen = segment_attention(model, torch.from_numpy(stored_features(cut)))
    picture = plot_attention(seen.layers, seen.groups, model.frame_shift)
    return [Picture(picture, f"Segment {seen.segment + 1} of {cut.id} (dev), all layers")]


class SegmentAttention(NamedTuple):
    """Attention of one segment: its number from 0, weights (H, Q, columns) per layer, and groups of columns."""

    segment: int
    layers: list[Any]
    groups: list[tuple[str, int]]


def segment_attention(model: AcousticModel, features: Tensor, segment: int | None = None) -> SegmentAttention:
    """What one segment (none: the last) of an utterance (T, F) attends to in every layer.

    Raises:
        ValueError: the utterance has no such segment, or the encoder no such attention.
    """
    maps = attention_maps(model.encoder, model.normalise(features))
    last = max(item.segment for item in maps)
    wanted = last if segment is None else segment
    shown = [item for item in maps if item.segment == wanted]
    if not shown:
        raise ValueError(f"segment {wanted + 1}: the utterance has segments 1 to {last + 1}")
    groups = [(name, getattr(shown[0], name)) for name in ("memory", "left", "centre", "right")]
    return SegmentAttention(wanted, [item.weights.numpy() for item in shown], groups)

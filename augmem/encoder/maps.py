"""What an encoder attends to, for pictures: the attention weights of one utterance over [memory | L | C | R].

Legend: H heads, Q queries, J memory columns, W frames of a block.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from augmem.encoder.augmented_memory import AugmentedMemoryEncoder
from augmem.encoder.base import Encoder


class AttentionMap(NamedTuple):
    """Attention of one block in one layer.

    layer: from 1, the lowest.
    segment: from 0.
    weights: (H, Q, memory + left + centre + right); each row sums to 1. Q is the whole block, in the top
        layer the centre alone.
    memory, left, centre, right: columns of each kind, in this order.
    """

    layer: int
    segment: int
    weights: Tensor
    memory: int
    left: int
    centre: int
    right: int


def attention_maps(encoder: Encoder, features: Tensor) -> list[AttentionMap]:
    """Maps of every layer and segment for one utterance.

    Args:
        features: (T, F) of one utterance.

    Raises:
        ValueError: the encoder is not an augmented-memory (or full-context) transformer, or features are not 2-D.
    """
    if not isinstance(encoder, AugmentedMemoryEncoder):
        raise ValueError(f"attention_maps: encoder.type {encoder.config.type!r} has no maps of [memory | L | C | R]")
    if features.dim() != 2:
        raise ValueError(f"attention_maps: features of shape {tuple(features.shape)} must be (T, F)")
    seen = _watched(encoder, features)
    plan = encoder._plan(encoder.frontend.output_lengths(torch.tensor([features.size(0)])))
    size = plan.blocks.all.filled.sum(1).tolist()
    centre = plan.blocks.centre.filled.sum(1).tolist()
    inside = plan.blocks.pooling[:, 0] > 0
    left = inside.to(torch.int64).argmax(1).tolist()
    maps = []
    for layer, weights in enumerate(seen, 1):
        for n in range(len(size)):
            old = plan.slots.size(1)
            memory = int(plan.seen[n].sum())
            rows = centre[n] if layer == len(seen) else size[n]
            kept = weights[n, :, :rows, old - memory : old + size[n]]
            maps.append(AttentionMap(layer, n, kept, memory, left[n], centre[n], size[n] - left[n] - centre[n]))
    return maps


def _watched(encoder: AugmentedMemoryEncoder, features: Tensor) -> list[Tensor]:
    """Weights (S, H, Q, J + W) of each layer in one forward pass without dropout."""
    seen: list[Tensor] = []
    training = encoder.training
    hooks = [
        layer.attention.weights.register_forward_hook(lambda module, args, weights: seen.append(weights))
        for layer in encoder.layers
    ]
    try:
        with torch.no_grad():
            encoder.eval()(features[None], torch.tensor([features.size(0)]))
    finally:
        encoder.train(training)
        for hook in hooks:
            hook.remove()
    return seen

"""Attention weights of one utterance over [memory | L | C | R], for plots.

Letters: S blocks, H heads, Q queries, J memory columns, W frames of a block.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from augmem.encoder.augmented_memory import AugmentedMemoryEncoder
from augmem.encoder.base import Encoder
from augmem.errors import UserError


class AttentionMap(NamedTuple):
    """Attention weights of one block in one layer.

    Args:
        layer: number of the layer; 1 is the lowest.
        segment: index of the segment.
        weights: (H, Q, memory + left + centre + right); rows sum to 1. Q is the whole block; in the top layer, the
            centre.
        memory, left, centre, right: number of columns of each kind, in this order.
    """

    layer: int
    segment: int
    weights: Tensor
    memory: int
    left: int
    centre: int
    right: int


def attention_maps(encoder: Encoder, features: Tensor) -> list[AttentionMap]:
    """Compute the attention maps of every layer and segment of one utterance.

    Args:
        encoder: augmented-memory or full-context transformer.
        features: (T, F) of the utterance.

    Raises:
        UserError: another type of encoder.
        ValueError: features are not 2-D.

    Example:
        >>> from augmem.encoder import EncoderConfig, build_encoder
        >>> encoder = build_encoder(EncoderConfig(dim=32, heads=2, layers=2, feedforward_dim=64), 80, 0.01)
        >>> maps = attention_maps(encoder, torch.randn(400, 80))
        >>> [(found.layer, found.segment, found.memory) for found in maps][:4]
        [(1, 0, 0), (1, 1, 1), (1, 2, 2), (1, 3, 3)]
    """
    if not isinstance(encoder, AugmentedMemoryEncoder):
        raise UserError(f"encoder.type: {encoder.config.type!r} has no attention maps; use an augmented_memory model")
    if features.dim() != 2:
        raise ValueError(f"attention_maps: features of shape {tuple(features.shape)} must be (T, F)")
    plan = encoder._plan(encoder.frontend.output_lengths(torch.tensor([features.size(0)])))
    size = plan.blocks.all.counts.tolist()
    centre = plan.blocks.centre.counts.tolist()
    left = (plan.blocks.pooling[:, 0] > 0).to(torch.int64).argmax(1).tolist()
    memory = encoder.memory_kind.count_columns(plan, encoder.config).tolist()
    maps = []
    for layer, weights in enumerate(_record_weights(encoder, features), 1):
        for n in range(len(size)):
            rows = centre[n] if layer == len(encoder.layers) else size[n]
            columns = weights.size(3) - plan.blocks.all.rows.size(1)
            kept = weights[n, :, :rows, columns - memory[n] : columns + size[n]]
            maps.append(AttentionMap(layer, n, kept, memory[n], left[n], centre[n], size[n] - left[n] - centre[n]))
    return maps


def _record_weights(encoder: AugmentedMemoryEncoder, features: Tensor) -> list[Tensor]:
    """Return the weights (S, H, Q, J + W) of each layer in a forward pass without dropout."""
    recorded: list[Tensor] = []
    training = encoder.training
    hooks = [
        layer.attention.weights.register_forward_hook(lambda module, args, weights: recorded.append(weights))
        for layer in encoder.layers
    ]
    try:
        with torch.no_grad():
            encoder.eval()(features[None], torch.tensor([features.size(0)]))
    finally:
        encoder.train(training)
        for hook in hooks:
            hook.remove()
    return recorded

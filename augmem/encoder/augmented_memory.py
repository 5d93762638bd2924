"""The paper's encoder: all segments of a layer at once in training, segment after segment in a stream.

Source: Wu, Wang, Shi, Yeh, Zhang, "Streaming Transformer-based Acoustic Models Using Self-attention with
Augmented Memory", Interspeech 2020, arXiv 2005.08042. How the first and the last segment are cut: see
`segments`.

Legend: S blocks, T frames, P packed block rows, K centre rows, D model width, H heads, d head width, J memory
columns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from augmem.encoder.attention import index_memory
from augmem.encoder.base import initialise, unpack
from augmem.encoder.config import EncoderConfig
from augmem.encoder.layer import AugmentedMemoryLayer, LayerIndex, index_layers, recomputed
from augmem.encoder.rows import additive, gather
from augmem.encoder.segments import Blocks, Plan, plan_segments
from augmem.encoder.streaming import Cut, Recurrent, SegmentEncoder


class AugmentedMemoryEncoder(SegmentEncoder):
    """Augmented-memory transformer over [L|C|R] segments.

    Beside what `SegmentEncoder` keeps, a stream's state holds `memory` (B, layers, 2, H, J, d): keys and
    values of the memory slots, newest last. With `memory_slots` set its size never changes; else it grows by
    one column per segment.
    """

    def __init__(self, config: EncoderConfig, feature_dim: int, frame_shift: float) -> None:
        super().__init__(config, feature_dim, frame_shift)
        self.layers = nn.ModuleList([AugmentedMemoryLayer(config) for _ in range(config.layers)])
        initialise(self, config.layers)

    def _plan(self, lengths: Tensor) -> Plan:
        return plan_segments(lengths, self.left, self.centre, self.right, self.config.memory_slots)

    def _encode(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor]]:
        plan = self._plan(lengths)
        lower, last = index_layers(plan.blocks, self.config, frames)
        memory = index_memory(plan, self.config.heads, frames)
        x = gather(frames, plan.blocks.source)
        recompute = self.config.recompute_layers and torch.is_grad_enabled()
        taps: list[Tensor] = []
        for number, layer in enumerate(self.layers, 1):
            top = number == len(self.layers)
            if not self._dropped():
                index = last if top else lower
                x = recomputed(layer, x, index, memory) if recompute else layer(x, index, memory)
            elif top:
                x = gather(x, last.query_rows)
            if str(number) in self.tap_norms:
                centre = x if top else gather(x, plan.blocks.centre_rows)
                taps.append(unpack(self.tap_norms[str(number)](centre), plan.frame_of_output))
        return unpack(self.norm(x), plan.frame_of_output), taps

    def _init_recurrent(self, batch: int) -> Recurrent:
        config = self.config
        slots = config.memory_slots or 0
        return {"memory": self.norm.weight.new_zeros(batch, *memory_shape(config, slots))}

    def _tables(self, blocks: Blocks, like: Tensor) -> tuple[LayerIndex, LayerIndex]:
        return index_layers(blocks, self.config, like)

    def _run_segment(self, x: Tensor, cut: Cut, segments: Tensor, state: Recurrent) -> tuple[Tensor, Recurrent]:
        lower, last = cut.tables
        memory = state["memory"]
        seen = newest(segments, memory.size(4), memory)
        slots: list[Tensor] = []
        for number, layer in enumerate(self.layers, 1):
            x, slot = layer.step(
                x, last if number == len(self.layers) else lower, memory[:, number - 1].transpose(0, 1), seen
            )
            slots.append(slot.transpose(0, 1))
        return self.norm(x), {"memory": append_slot(memory, torch.stack(slots, 1), self.config.memory_slots)}


def memory_shape(config: EncoderConfig, slots: int) -> tuple[int, ...]:
    """Shape of one stream's keys and values of `slots` slots in every layer: (layers, 2, H, slots, d)."""
    return (config.layers, 2, config.heads, slots, config.dim // config.heads)


def newest(count: Tensor, columns: int, like: Tensor) -> Tensor:
    """Additive mask (S, 1, columns) of which only the right-most `count` (S,) columns are filled."""
    from_right = torch.arange(columns, 0, -1, device=count.device)
    return additive((from_right <= count[:, None])[:, None], like)


def append_slot(memory: Tensor, slot: Tensor, bound: int | None) -> Tensor:
    """Put a slot at the right end of banks (S, layers, 2, H, J, d); a bounded bank drops its oldest."""
    if bound == 0:
        return memory
    return torch.cat([memory if bound is None else memory[:, :, :, :, 1:], slot], 4)

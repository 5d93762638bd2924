"""Segment transformers whose left context is cached, not recomputed: Transformer-XL style, and Emformer.

A block is [C|R]; its queries attend to the layer's keys and values of the last L centre frames of earlier
blocks, so the past a frame depends on grows with depth, and nothing but R is computed twice. Emformer (arXiv
2010.10759) adds
memory: layer l reads slots that layer l - 1 wrote, the lowest one the means of the centres themselves, and
the summary query does not see the bank. So nothing within a layer is recurrent. `transformer_xl` is the same
without memory.

Legend: S blocks, P packed block rows, W cells of a block, H heads, d head width, J memory columns.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from augmem.encoder.attention import Block, index_memory
from augmem.encoder.augmented_memory import append_slot, memory_shape, newest
from augmem.encoder.base import initialise, unpack
from augmem.encoder.config import EncoderConfig
from augmem.encoder.layer import AugmentedMemoryLayer, LayerIndex, index_layers
from augmem.encoder.rows import gather
from augmem.encoder.segments import Blocks, Cells, Plan, plan_segments
from augmem.encoder.streaming import Cut, Recurrent, SegmentEncoder


class CachedContextLayer(AugmentedMemoryLayer):
    """The paper's layer, its keys and values preceded by given ones."""

    def cached(
        self, x: Tensor, index: LayerIndex, bank: Tensor, seen: Tensor, cache: Tensor, cached: Tensor
    ) -> tuple[Tensor, Tensor, Block]:
        """Block rows (P, D) -> outputs (R, D), the slots (S, D) they write, and their projections.

        Args:
            bank: (2, S, H, J, d) keys and values of memory slots.
            seen: (S, 1, J) additive mask of the bank.
            cache: (2, S, H, L, d) keys and values of earlier centres.
            cached: (S, 1, L) additive mask of the cache.
        """
        x = self._convolve(x, index)
        h = self.attention_norm(x)
        x, q = self._queries(x, h, index)
        own = self.attention.project(q, h, index.attention)
        keys, values = torch.cat([cache[0], own.keys], 2), torch.cat([cache[1], own.values], 2)
        block = Block(own.queries, keys, values, own.summary)
        tables = index.attention._replace(bias=torch.cat([cached, index.attention.bias], -1))
        z = self.attention.attend(block, tables, bank, torch.cat([seen, tables.bias], -1))
        slot = self.attention.slots(block, q, tables) if self.attention.memory_slots != 0 else x[:0]
        return self._finish(x, z), slot, own


class CachedContextEncoder(SegmentEncoder):
    """Emformer, or with `type: transformer_xl` the same without memory.

    A stream's state adds `memory` and `cache` (B, layers, 2, H, J or L, d): keys and values, newest last.
    """

    def __init__(self, config: EncoderConfig, feature_dim: int, frame_shift: float) -> None:
        if config.type == "transformer_xl":
            config = replace(config, memory_slots=0)
        super().__init__(replace(config, summary_sees_memory=False), feature_dim, frame_shift)
        self.block_left = 0
        self.layers = nn.ModuleList([CachedContextLayer(self.config) for _ in range(config.layers)])
        initialise(self, config.layers)

    def _encode(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor]]:
        plan = plan_segments(lengths, 0, self.centre, self.right, self.config.memory_slots)
        lower, last = (self._with_left(index, plan) for index in index_layers(plan.blocks, self.config, frames))
        memory = index_memory(plan, self.config.heads, frames)
        read = slots_read(plan)
        nothing = frames.new_zeros(2, plan.slots.size(0), self.config.heads, 0, self.output_dim // self.config.heads)
        x = gather(frames, plan.blocks.source)
        slot = self._first_slots(x, plan.blocks)
        taps: list[Tensor] = []
        for number, layer in enumerate(self.layers, 1):
            top = number == len(self.layers)
            if self._dropped():
                x = gather(x, last.query_rows) if top else x
            else:
                bank = nothing
                if memory.slots.size(-1):
                    bank = gather(layer.attention.key_value(slot[read]).view(-1, nothing.size(-1)), memory.slots)
                x, slot, _ = layer.cached(x, last if top else lower, bank, memory.bias, nothing, memory.bias[..., :0])
            if str(number) in self.tap_norms:
                centre = x if top else gather(x, plan.blocks.centre_rows)
                taps.append(unpack(self.tap_norms[str(number)](centre), plan.frame_of_output))
        return unpack(self.norm(x), plan.frame_of_output), taps

    def _with_left(self, index: LayerIndex, plan: Plan) -> LayerIndex:
        """Put the cells of the left context in front of each block's own: centre rows of earlier blocks."""
        left = left_cells(plan, self.left)
        attention = index.attention.preceded(left, self.config.heads)
        return index._replace(attention=attention)

    def _first_slots(self, x: Tensor, blocks: Blocks) -> Tensor:
        """Slots (S, D) that the lowest layer reads: the means of the centres."""
        pooling = blocks.pooling.to(x.dtype)
        return torch.matmul(pooling, gather(x, blocks.all.rows)).squeeze(1)

    def _init_recurrent(self, batch: int) -> Recurrent:
        like = self.norm.weight
        shapes = {name: memory_shape(self.config, n) for name, n in self._columns().items()}
        return {name: like.new_zeros(batch, *shape) for name, shape in shapes.items()}

    def _columns(self) -> dict[str, int]:
        return {"memory": self.config.memory_slots or 0, "cache": self.left}

    def _tables(self, blocks: Blocks, like: Tensor) -> tuple[LayerIndex, LayerIndex]:
        return index_layers(blocks, self.config, like)

    def _run_segment(self, x: Tensor, cut: Cut, segments: Tensor, state: Recurrent) -> tuple[Tensor, Recurrent]:
        lower, last = cut.tables
        memory, cache = state["memory"], state["cache"]
        seen = newest(segments, memory.size(4), memory)
        cached = newest(segments * self.centre, self.left, cache)
        slot = self._first_slots(x, cut.blocks)
        slots, caches = [], []
        for n, layer in enumerate(self.layers):
            if self.config.memory_slots != 0:
                slots.append(layer.attention.remember(slot).transpose(0, 1))
            index = last if n == len(self.layers) - 1 else lower
            x, slot, own = layer.cached(
                x, index, memory[:, n].transpose(0, 1), seen, cache[:, n].transpose(0, 1), cached
            )
            # A centre shorter than C ends its stream, so that what stands behind it is never read.
            centre = torch.stack([own.keys, own.values], 1)[:, :, :, : self.centre]
            line = torch.cat([cache[:, n], centre], 3)
            caches.append(line[:, :, :, line.size(3) - self.left :])
        if slots:
            memory = append_slot(memory, torch.stack(slots, 1), self.config.memory_slots)
        return self.norm(x), {"memory": memory, "cache": torch.stack(caches, 1)}


def left_cells(plan: Plan, left: int) -> Cells:
    """Block rows (S, left) of the frames before each block's centre, taken from the blocks whose centres they
    are."""
    blocks = plan.blocks
    owner = blocks.source[blocks.centre_rows]
    row_of_frame = torch.empty(int(owner.max()) + 1, dtype=torch.int64, device=owner.device)
    row_of_frame[owner] = blocks.centre_rows
    first = blocks.source[blocks.all.rows[:, 0]]
    alive = torch.tensor(plan.alive, device=owner.device)
    segment = torch.arange(len(plan.alive), device=owner.device).repeat_interleave(alive)
    before = segment * blocks.centre.rows.size(1)  # where a second segment exists, the widest centre is C
    back = torch.arange(left, 0, -1, device=owner.device)
    filled = back <= before[:, None]
    rows = row_of_frame[(first[:, None] - back).clamp(min=0)]
    return Cells(torch.where(filled, rows, 0), filled, blocks.all.cells[:0])


def slots_read(plan: Plan) -> Tensor:
    """Segments (slots,) whose slots a later segment reads, in the order in which slots are numbered."""
    begin, chosen = 0, []
    for here, readers in zip(plan.alive, [*plan.alive[1:], 0], strict=True):
        chosen.append(torch.arange(begin, begin + readers, device=plan.slots.device))
        begin += here
    return torch.cat(chosen)

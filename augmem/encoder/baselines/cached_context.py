"""Segment transformers with a cached left context: Transformer-XL style, and Emformer (arXiv 2010.10759).

A block is [C|R]. Its queries attend to the keys and values of the last L centre frames of earlier blocks, so the
receptive field grows with depth, and only R is computed twice. Emformer adds memory: layer l reads slots that layer l -
1 wrote, the lowest layer reads the means of the centres, and the summary query does not attend to the bank, so no layer
is recurrent. `transformer_xl` is the same without memory.

Letters: B streams, S blocks, P packed block rows, R query rows, W cells of a block, H heads, d head width, J memory
columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from augmem.devices import to_device
from augmem.encoder.attention import Projections
from augmem.encoder.base import initialise
from augmem.encoder.config import EncoderConfig
from augmem.encoder.index import LayerIndex, index_layers
from augmem.encoder.layer import AugmentedMemoryLayer
from augmem.encoder.memory.slot_index import read_columns, slot_writers
from augmem.encoder.memory.slots import SlotMemory
from augmem.encoder.rows import additive, gather, head_rows, newest, unpack
from augmem.encoder.segments import Blocks, Cells, Plan, plan_segments
from augmem.encoder.state import Memory, RecurrentState
from augmem.encoder.streaming import SegmentEncoder


@dataclass(frozen=True)
class CachedState(RecurrentState):
    """State passed from one segment to the next.

    Args:
        bank: memory slots.
        cache: (B, layers, 2, H, L, d) keys and values of the last centre frames, newest last.
        cached: (B,) centre frames processed; the right-most columns of the cache are filled.
    """

    bank: Memory
    cache: Tensor
    cached: Tensor

    def limit_memory(self, segments: int) -> CachedState:
        return replace(self, bank=self.bank.keep(segments))


class CachedContextLayer(AugmentedMemoryLayer):
    """Layer of the paper whose keys and values are preceded by cached ones."""

    def forward_cached(
        self, x: Tensor, index: LayerIndex, bank: Tensor, seen: Tensor, cache: Tensor, cached: Tensor
    ) -> tuple[Tensor, Tensor, Projections]:
        """Process block rows (P, D).

        Args:
            bank: (2, S, H, J, d) keys and values of memory slots.
            seen: (S, 1, J) additive mask of the bank.
            cache: (2, S, H, L, d) keys and values of earlier centres.
            cached: (S, 1, L) additive mask of the cache.

        Returns:
            outputs (R, D), the slots (S, D) that the blocks write, and the projections of the blocks.
        """
        x = self._convolve(x, index)
        h = self.attention_norm(x)
        x, q = self._queries(x, h, index)
        own = self.attention.project(q, h, index)
        keys, values = torch.cat([cache[0], own.keys], 2), torch.cat([cache[1], own.values], 2)
        block = own._replace(keys=keys, values=values)
        preceded = index._replace(bias=torch.cat([cached, index.bias], -1))
        z = self.attention.attend(block, preceded, bank, torch.cat([seen, preceded.bias], -1))
        slot = self.attention.slots(block, q, preceded) if self.attention.has_memory else x[:0]
        return self._finish(x, z), slot, own


class CachedContextEncoder(SegmentEncoder):
    """Emformer or, with `type: transformer_xl`, the same without memory.

    Args:
        config: sizes and options.
        feature_dim: feature bins F.
        frame_shift: seconds between feature frames.
    """

    def __init__(self, config: EncoderConfig, feature_dim: int, frame_shift: float) -> None:
        if config.type == "transformer_xl":
            config = replace(config, memory_slots=0)
        super().__init__(replace(config, summary_sees_memory=False), feature_dim, frame_shift)
        self.block_left = 0
        self.layers = nn.ModuleList([CachedContextLayer(self.config, rank) for rank in config.ranks])
        initialise(self, config.layers)

    def _encode(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor]]:
        plan = to_device(plan_segments(lengths, 0, self.centre, self.right), frames.device)
        columns, writers = read_columns(plan, self.config.memory_slots), slot_writers(plan).flatten()
        lower, last = (self._with_left(index, plan) for index in index_layers(plan.blocks, self.config, frames))
        nothing = frames.new_zeros(2, columns.slots.size(0), *SlotMemory.shape(self.config, 0)[1:])
        seen = additive(columns.seen[:, None], frames)
        x = gather(frames, plan.blocks.source)
        slot = self._first_slots(x, plan.blocks)
        taps: list[Tensor] = []
        for number, layer in enumerate(self.layers, 1):
            index = last if number == len(self.layers) else lower
            if not self._draw_layer_drop():
                bank = self._bank(layer, slot[writers], columns.slots) if columns.slots.size(1) else nothing
                x, slot, _ = layer.forward_cached(x, index, bank, seen, nothing, seen[..., :0])
            elif index.query_rows is not None:
                x = gather(x, index.query_rows)
            if str(number) in self.tap_norms:
                centre = x if index is last else gather(x, plan.blocks.centre_rows)
                taps.append(unpack(self.tap_norms[str(number)](centre), plan.frame_of_output))
        return unpack(self.norm(x), plan.frame_of_output), taps

    def _bank(self, layer: CachedContextLayer, slots: Tensor, columns: Tensor) -> Tensor:
        """Project slots of the layer below (slots, D): keys and values (2, S, H, J, d) of those in `columns` (S, J)."""
        rows = layer.attention.key_value(slots).view(-1, layer.attention.head_dim)
        return gather(rows, head_rows(columns, self.config.heads, 2))

    def _with_left(self, index: LayerIndex, plan: Plan) -> LayerIndex:
        """Add the cells of the left context before those of each block: centre rows of earlier blocks."""
        return index.prepend_cells(left_cells(plan, self.left), self.config.heads)

    def _first_slots(self, x: Tensor, blocks: Blocks) -> Tensor:
        """Return the slots (S, D) that the lowest layer reads: the means of the centres."""
        pooling = blocks.pooling.to(x.dtype)
        return torch.matmul(pooling, gather(x, blocks.all.rows)).squeeze(1)

    def _init_recurrent(self, batch: int) -> CachedState:
        like, config = self.norm.weight, self.config
        bank = SlotMemory.start(config, batch, like, config.memory_slots or 0)
        cache = SlotMemory.start(config, batch, like, self.left)
        return CachedState(bank, cache.values, cache.count)

    def _tables(self, blocks: Blocks, like: Tensor) -> tuple[LayerIndex, LayerIndex]:
        return index_layers(blocks, self.config, like)

    def _run_segment(
        self, x: Tensor, blocks: Blocks, tables: tuple[LayerIndex, LayerIndex], state: CachedState
    ) -> tuple[Tensor, CachedState]:
        lower, last = tables
        bank, cache = state.bank, state.cache
        seen, cached = bank.mask(), additive(newest(state.cached, self.left)[:, None], cache)
        slot = self._first_slots(x, blocks)
        slots, caches = [], []
        for n, layer in enumerate(self.layers):
            if layer.attention.has_memory:
                slots.append(layer.attention.slot_key_value(slot).transpose(0, 1))
            index = last if n == len(self.layers) - 1 else lower
            x, slot, own = layer.forward_cached(
                x, index, bank.values[:, n].transpose(0, 1), seen, cache[:, n].transpose(0, 1), cached
            )
            # A centre shorter than C ends its stream, so what the cache holds beyond it is never read.
            centre = torch.stack([own.keys, own.values], 1)[:, :, :, : self.centre]
            line = torch.cat([cache[:, n], centre], 3)
            caches.append(line[:, :, :, line.size(3) - self.left :])
        if slots:
            bank = bank.write(torch.stack(slots, 1), self.config.memory_slots)
        return self.norm(x), CachedState(bank, torch.stack(caches, 1), state.cached + self.centre)


def left_cells(plan: Plan, left: int) -> Cells:
    """Return the block rows (S, left) of the frames before the centre of each block: centre rows of earlier blocks."""
    blocks = plan.blocks
    owner = blocks.source[blocks.centre_rows]
    row_of_frame = torch.empty(int(owner.max()) + 1, dtype=torch.int64, device=owner.device)
    row_of_frame[owner] = blocks.centre_rows
    first = blocks.source[blocks.all.rows[:, 0]]
    before = plan.segments * blocks.centre.rows.size(1)  # where a second segment exists, the widest centre is C
    back = torch.arange(left, 0, -1, device=owner.device)
    filled = back <= before[:, None]
    rows = row_of_frame[(first[:, None] - back).clamp(min=0)]
    return Cells(torch.where(filled, rows, 0), filled, blocks.all.cells[:0])

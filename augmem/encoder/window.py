"""Streaming step over windows of features, for export: each step receives a centre with its right context.

Windows overlap: a window has the feature frames of C + R encoder frames and begins C frames after the last one. The
outputs of its centre need nothing else, so that a step returns exactly C frames. `StaticStep` receives every feature
frame once instead, and its outputs wait for the right context. The layers are those of the encoder.

Letters: B streams, any number; T feature frames of a window, F features, D model width, W = L + C + R frames of a
block.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from augmem.encoder.augmented_memory import AugmentedMemoryEncoder
from augmem.encoder.base import Encoder
from augmem.encoder.index import LayerIndex, index_layers
from augmem.encoder.segments import cut_blocks
from augmem.encoder.state import Memory
from augmem.encoder.static import check_augmented_memory, mask_index


class WindowStep(nn.Module):
    """Streaming step over overlapping windows.

    The memory is emptied after `memory_reset` segments, as by `StreamState.limit_memory`, so that its size is bounded,
    unless its kind is stable without resets.

    Args:
        encoder: an augmented-memory encoder.
        memory_reset: segments after which the memory is emptied.

    Raises:
        UserError: another type of encoder.

    Example:
        >>> from augmem.encoder import EncoderConfig, build_encoder
        >>> config = EncoderConfig(dim=8, heads=2, layers=1, feedforward_dim=8)
        >>> step = WindowStep(build_encoder(config, 80, 0.01).eval(), memory_reset=4)
        >>> features, valid = torch.zeros(3, step.window_frames, 80), torch.tensor([160, 160, 100])
        >>> hidden, *state = step(features, valid, torch.zeros(3, dtype=torch.int64), *step.init_state(3).values())
        >>> features.shape, hidden.shape
        (torch.Size([3, 160, 80]), torch.Size([3, 32, 8]))
    """

    def __init__(self, encoder: Encoder, memory_reset: int) -> None:
        super().__init__()
        self.encoder: AugmentedMemoryEncoder = check_augmented_memory(encoder)
        self.memory_reset = memory_reset
        self.bank_size = self._bank_size()
        one = torch.ones(1, dtype=torch.int64)
        blocks = cut_blocks(0 * one, encoder.left * one, encoder.centre * one, encoder.right * one)
        self.lower, self.last = index_layers(blocks, encoder.config, encoder.norm.weight.detach().cpu())

    def _bank_size(self) -> int:
        """Return the slots of the memory that a step can read."""
        encoder, most = self.encoder, self.memory_reset - 1
        size = encoder.memory_kind.bank_size(encoder.config)
        if encoder.memory_kind.stable:
            return size or 0
        return most if size is None else min(size, most)

    @property
    def window_frames(self) -> int:
        """Feature frames of a window, T."""
        return (self.encoder.centre + self.encoder.right) * self.encoder.subsampling

    def init_state(self, batch: int) -> dict[str, Tensor]:
        """Return the state of `batch` new streams by name: zeros, batch first."""
        encoder, frontend, like = self.encoder, self.encoder.frontend, self.encoder.norm.weight
        state = {
            f"convolution_{i}": like.new_zeros(batch, frontend.channels[i], convolution.cache, frontend.bins[i])
            for i, convolution in enumerate(frontend.convolutions)
        }
        state["history"] = like.new_zeros(batch, encoder.left, encoder.output_dim)
        state["memory"] = self._memory(batch).values
        return {name: value for name, value in state.items() if value.numel()}

    def _memory(self, batch: int) -> Memory:
        """Return the empty memory of `batch` streams."""
        encoder = self.encoder
        return encoder.memory_kind.start(encoder.config, batch, encoder.norm.weight, self.bank_size)

    def forward(self, features: Tensor, valid: Tensor, steps: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        """Run one step.

        Args:
            features: (B, T, F).
            valid: (B,) int64, valid frames among them, at least 1: all, except at the end of a stream.
            steps: (B,) int64, number of earlier steps of each stream.
            values: the state, in the order of `init_state`.

        Returns:
            hidden (B, C, D), of which the rows up to the last valid frame are outputs, and the values of the new state.
        """
        encoder = self.encoder
        state = dict(zip(self.init_state(1), values, strict=True))
        new, frames = self._frontend(features, valid, state)
        line = torch.cat([state["history"], frames], 1) if encoder.left else frames
        if encoder.left:
            new["history"] = line[:, encoder.centre : encoder.centre + encoder.left]
        exists = self._existing(encoder.frontend.output_lengths(valid), steps)
        count = steps if encoder.memory_kind.stable else steps % self.memory_reset
        memory = self._memory(steps.size(0))
        memory = replace(memory, values=state.get("memory", memory.values), count=count)
        hidden, memory = self._layers(line.flatten(0, 1), exists, memory)
        if "memory" in state:
            new["memory"] = memory.values
        return hidden.view(-1, encoder.centre, encoder.output_dim), *new.values()

    def _frontend(self, features: Tensor, valid: Tensor, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Return the convolution caches at the end of the centre and the encoder frames (B, C + R, D)."""
        frontend, new = self.encoder.frontend, {}
        padding = torch.arange(self.window_frames) >= valid[:, None]
        x = features.masked_fill(padding[:, :, None], 0.0)[:, None]
        centre = self.encoder.chunk_frames
        for i, convolution in enumerate(frontend.convolutions):
            if convolution.cache:
                x = torch.cat([state[f"convolution_{i}"], x], 2)
                new[f"convolution_{i}"] = x[:, :, centre : centre + convolution.cache]
            centre //= convolution.time_stride
            x = convolution(x)
        return new, frontend.projection(x.permute(0, 2, 3, 1).flatten(2))

    def _existing(self, known: Tensor, steps: Tensor) -> Tensor:
        """Return which frames of each block exist (B, W), if `known` (B,) frames of the window do."""
        left = self.encoder.left
        frame = torch.arange(-left, self.encoder.centre + self.encoder.right)
        start = steps * self.encoder.centre
        return (frame + start[:, None] >= 0) & (frame < known[:, None])

    def _layers(self, x: Tensor, exists: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Map block rows (B * W, D) to centre rows (B * C, D), and return the memory after the block."""
        encoder = self.encoder
        streams = torch.arange(exists.size(0))
        centre = exists[:, encoder.left : encoder.left + encoder.centre]
        inside = nn.functional.pad(centre, (encoder.left, encoder.right))
        lower = mask_index(repeat_index(self.lower, streams), exists, inside)
        last = mask_index(repeat_index(self.last, streams), exists, inside, centre)
        hidden, memory = encoder.run_layers(x, (lower, last), memory)
        return hidden, memory.keep(self.bank_size)


def repeat_index(index: LayerIndex, streams: Tensor) -> LayerIndex:
    """Return the tables of one block for one block in each of `streams` (B,), which counts from 0.

    The number of streams may differ from call to call of a traced step.
    """
    heads, cells = index.queries.size(1), index.queries.size(2)
    rows, queries, spaced_rows = index.positions.size(0), index.outputs.size(0), index.spaced.size(0)
    is_gap = index.spaced == rows

    def shift(table: Tensor, by: int) -> Tensor:
        """Return a copy of a table (1, ...) for each stream (B, ...), increased by `by` from stream to stream."""
        return table + by * streams.view(-1, *[1] * (table.dim() - 1))

    spaced = torch.where(is_gap, rows * streams.size(0), shift(index.spaced[None], rows))
    return index._replace(
        queries=shift(index.queries, queries * heads),
        keys_values=torch.stack([shift(table, 2 * rows * heads) for table in index.keys_values]),
        outputs=shift(index.outputs[None], heads * cells).flatten(0, 1),
        query_cells=shift(index.query_cells, queries),
        query_rows=None if index.query_rows is None else shift(index.query_rows[None], rows).flatten(),
        spaced=spaced.flatten(),
        positions=shift(index.positions[None], spaced_rows).flatten(),
    )

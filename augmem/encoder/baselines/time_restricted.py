"""Time-restricted self-attention: in each layer a frame sees so many frames to its left and so few to its
right.

The look-ahead adds up over the layers. It is chosen so that the whole equals the average latency of the
segment encoders, right context + centre / 2, spread over the layers as evenly as whole frames allow; every
layer looks `left_context` back. Streams need no segments: a layer emits a frame as soon as its right context
is there.

Legend: B streams, T frames, S blocks of queries, Q queries and W cells of a block, D model width.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from augmem.encoder.attention import BlockIndex, MemoryIndex
from augmem.encoder.base import Encoder, initialise, unpack
from augmem.encoder.config import EncoderConfig
from augmem.encoder.layer import AugmentedMemoryLayer, LayerIndex
from augmem.encoder.rows import additive, cell_heads, head_rows, take
from augmem.encoder.segments import Blocks, plan_segments
from augmem.encoder.streaming import State, check_chunk

_BLOCK = 32  # queries computed together: a matter of speed only


class TimeRestrictedEncoder(Encoder):
    """Transformer with a sliding window in each layer. Its state adds each layer's last inputs and their
    count."""

    def __init__(self, config: EncoderConfig, feature_dim: int, frame_shift: float) -> None:
        super().__init__(replace(config, memory_slots=0), feature_dim, frame_shift)
        share, rest = divmod(self.right + self.centre // 2, config.layers)
        self.rights = [share + (n < rest) for n in range(config.layers)]
        self.layers = nn.ModuleList([AugmentedMemoryLayer(self.config) for _ in range(config.layers)])
        initialise(self, config.layers)

    @property
    def look_ahead(self) -> float:
        return sum(self.rights) * self.frame_seconds

    @property
    def average_latency(self) -> float:
        return self.look_ahead

    def _encode(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor]]:
        tables = {right: self._window(lengths, right, frames) for right in set(self.rights)}
        width, offset = int(lengths.max()), lengths.cumsum(0) - lengths
        column = torch.arange(width, device=lengths.device)
        place = torch.where(column < lengths[:, None], offset[:, None] + column, frames.size(0))
        x, taps = frames, []
        for number, (layer, right) in enumerate(zip(self.layers, self.rights, strict=True), 1):
            if not self._dropped():
                x = layer(x, tables[right], _no_memory(frames))
            if str(number) in self.tap_norms:
                taps.append(unpack(self.tap_norms[str(number)](x), place))
        return unpack(self.norm(x), place), taps

    def _window(self, lengths: Tensor, right: int, like: Tensor) -> LayerIndex:
        """Tables of a layer over packed frames: keys are gathered from neighbouring frames, nothing is
        recomputed."""
        blocks = plan_segments(lengths, self.left, _BLOCK, right, 0).blocks
        queries, keys = blocks.source[blocks.centre_rows][blocks.centre.rows], blocks.source[blocks.all.rows]
        seen = blocks.all.filled[:, None] & self._in_window(queries, keys, right, blocks.centre.filled)
        return self._tables(queries, _in_frame_order(blocks), keys, additive(seen, like), None)

    def _in_window(self, queries: Tensor, keys: Tensor, right: int, real: Tensor) -> Tensor:
        """Which frames `keys` (S, W) the frames `queries` (S, Q) see; queries that are not real see all: no
        NaN."""
        distance = keys[:, None, :] - queries[:, :, None]
        return ((distance >= -self.left) & (distance <= right)) | ~real[:, :, None]

    def _tables(
        self, queries: Tensor, cells: Tensor, keys: Tensor, bias: Tensor, query_rows: Tensor | None
    ) -> LayerIndex:
        heads = self.config.heads
        outputs = cell_heads(cells, queries.size(1), heads)
        pooling = bias.new_zeros(queries.size(0), 1, queries.size(1))  # there is no summary to pool for
        attention = BlockIndex(
            head_rows(queries, heads, 1)[0], head_rows(keys, heads, 2), outputs, bias, pooling, queries
        )
        rows = cells if query_rows is None else query_rows
        return LayerIndex(attention, rows, query_rows is not None, cells, cells)

    def init_state(self, batch: int) -> State:
        if batch < 1:
            raise ValueError(f"init_state: batch={batch} must be at least 1")
        like = self.norm.weight
        state = self.frontend.init_state(batch)
        for n, right in enumerate(self.rights):
            state[f"inputs_{n}"] = like.new_zeros(batch, self.left + right, self.output_dim)
        state["seen"] = torch.zeros(batch, len(self.layers), dtype=torch.int64, device=like.device)
        state["emitted"] = torch.zeros(batch, dtype=torch.int64, device=like.device)
        return state

    def step(self, chunk: Tensor, state: State, final: bool = False) -> tuple[Tensor, State]:
        check_chunk(chunk, state["seen"].size(0), self.frontend.feature_dim)
        x, count, new_state = self.frontend.step(chunk, state, final)
        x, seen = self.dropout(x), []
        for n, layer in enumerate(self.layers):
            before = state["seen"][:, n]
            line = torch.cat([state[f"inputs_{n}"], x], 1)
            new_state[f"inputs_{n}"] = take(line, count, self.left + self.rights[n])
            seen.append(before + count)
            x, count = self._layer_step(layer, line, before, seen[-1], self.rights[n], final)
        real = torch.arange(x.size(1), device=x.device) < count[:, None]
        new_state.update(seen=torch.stack(seen, 1), emitted=count)
        return self.norm(x) * real[:, :, None], new_state

    def _layer_step(
        self, layer: nn.Module, line: Tensor, before: Tensor, known: Tensor, right: int, final: bool
    ) -> tuple[Tensor, Tensor]:
        """Outputs (B, Q, D) of a layer that have become computable, and how many are real (B,).

        Args:
            line: (B, W, D) the layer's inputs; frame number `before` (B,) stands in column left + right.
            known: (B,) inputs that the layer has seen by now.
        """
        batch, width, _ = line.shape
        done = (before - right).clamp(min=0)
        count = (known if final else (known - right).clamp(min=0)) - done
        most = int(count.max())
        if most == 0:
            return line[:, :0], count
        stream = torch.arange(batch, device=line.device)[:, None] * width
        number = (before - self.left - right)[:, None] + torch.arange(width, device=line.device)
        wanted = done[:, None] + torch.arange(most, device=line.device)
        column = (wanted - number[:, :1]).clamp(max=width - 1)
        real = torch.arange(most, device=line.device) < count[:, None]
        exists = (number >= 0) & (number < known[:, None])
        seen = exists[:, None] & self._in_window(wanted, number, right, real)
        cells = torch.arange(batch * most, device=line.device)
        keys = stream + torch.arange(width, device=line.device)
        queries = cells.view(batch, most)
        index = self._tables(queries, cells, keys, additive(seen, line), (stream + column).flatten())
        return layer(line.flatten(0, 1), index, _no_memory(line)).view(batch, most, -1), count


def _no_memory(like: Tensor) -> MemoryIndex:
    nothing = torch.zeros(2, 1, 1, 0, dtype=torch.int64, device=like.device)
    return MemoryIndex([], [], nothing, like.new_zeros(1, 1, 0), like.new_zeros(1, 1, 1, 0))


def _in_frame_order(blocks: Blocks) -> Tensor:
    """Cell of each frame's query, frame by frame: blocks are ordered by segment, frames by utterance."""
    return blocks.centre.cells[torch.argsort(blocks.source[blocks.centre_rows])]

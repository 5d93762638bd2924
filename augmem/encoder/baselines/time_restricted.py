"""Time-restricted self-attention: in each layer a frame attends to a fixed number of frames to its left and right.

The look-ahead adds up over the layers. It is chosen so that the total equals the average latency of the segment
encoders, right context + centre / 2, distributed over the layers as evenly as whole frames allow; every layer attends
`left_context` back. Streams need no segments: a layer emits a frame as soon as its right context is complete.

Letters: B streams, T frames, S blocks of queries, Q queries and W cells of a block, R query rows, D model width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from augmem.devices import to_device
from augmem.encoder.base import Encoder, initialise
from augmem.encoder.config import EncoderConfig
from augmem.encoder.frontend import FrontendState
from augmem.encoder.index import LayerIndex
from augmem.encoder.layer import AugmentedMemoryLayer
from augmem.encoder.rows import additive, cell_heads, head_rows, take, unpack
from augmem.encoder.segments import Blocks, plan_segments
from augmem.encoder.state import StreamState
from augmem.encoder.streaming import check_chunk

_BLOCK = 32  # queries computed together: changes the speed only


@dataclass(frozen=True)
class WindowState(StreamState):
    """State of B streams of the time-restricted transformer.

    Args:
        frontend: state of the front end.
        inputs: last inputs (B, L + right, D) of each layer.
        seen: (B, layers) inputs that each layer has received.
    """

    frontend: FrontendState
    inputs: tuple[Tensor, ...]
    seen: Tensor


class TimeRestrictedEncoder(Encoder):
    """Transformer with a sliding attention window in each layer.

    Args:
        config: sizes and options.
        feature_dim: feature bins F.
        frame_shift: seconds between feature frames.
    """

    def __init__(self, config: EncoderConfig, feature_dim: int, frame_shift: float) -> None:
        super().__init__(replace(config, memory_slots=0), feature_dim, frame_shift)
        share, rest = divmod(self.right + self.centre // 2, config.layers)
        self.rights = [share + (n < rest) for n in range(config.layers)]
        self.layers = nn.ModuleList([AugmentedMemoryLayer(self.config, rank) for rank in config.ranks])
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
        column = torch.arange(width)
        place = torch.where(column < lengths[:, None], offset[:, None] + column, frames.size(0)).to(frames.device)
        x, taps = frames, []
        for number, (layer, right) in enumerate(zip(self.layers, self.rights, strict=True), 1):
            if not self._dropped():
                x, _ = layer(x, tables[right])
            if str(number) in self.tap_norms:
                taps.append(unpack(self.tap_norms[str(number)](x), place))
        return unpack(self.norm(x), place), taps

    def _window(self, lengths: Tensor, right: int, like: Tensor) -> LayerIndex:
        """Build the tables of a layer over packed frames: keys are gathered from neighbouring frames."""
        blocks = to_device(plan_segments(lengths, self.left, _BLOCK, right, 0).blocks, like.device)
        queries, keys = blocks.source[blocks.centre_rows][blocks.centre.rows], blocks.source[blocks.all.rows]
        seen = blocks.all.filled[:, None] & self._in_window(queries, keys, right, blocks.centre.filled)
        return self._tables(queries, _in_frame_order(blocks), keys, additive(seen, like), None)

    def _in_window(self, queries: Tensor, keys: Tensor, right: int, real: Tensor) -> Tensor:
        """Return which frames `keys` (S, W) the frames `queries` (S, Q) attend to; padding queries attend to all, to
        avoid NaN."""
        distance = keys[:, None, :] - queries[:, :, None]
        return ((distance >= -self.left) & (distance <= right)) | ~real[:, :, None]

    def _tables(
        self, queries: Tensor, cells: Tensor, keys: Tensor, bias: Tensor, query_rows: Tensor | None
    ) -> LayerIndex:
        heads = self.config.heads
        outputs = cell_heads(cells, queries.size(1), heads)
        pooling = bias.new_zeros(queries.size(0), 1, queries.size(1))  # no summary query
        return LayerIndex(
            head_rows(queries, heads, 1)[0], head_rows(keys, heads, 2), outputs, bias, pooling, queries, query_rows,
            spaced=cells, places=cells,
        )  # fmt: skip

    def init_state(self, batch: int) -> StreamState:
        if batch < 1:
            raise ValueError(f"init_state: batch={batch} must be at least 1")
        like = self.norm.weight
        return WindowState(
            emitted=torch.zeros(batch, dtype=torch.int64, device=like.device),
            frontend=self.frontend.init_state(batch),
            inputs=tuple(like.new_zeros(batch, self.left + right, self.output_dim) for right in self.rights),
            seen=torch.zeros(batch, len(self.layers), dtype=torch.int64, device=like.device),
        )

    def step(self, chunk: Tensor, state: StreamState, final: bool = False) -> tuple[Tensor, StreamState]:
        assert isinstance(state, WindowState)
        check_chunk(chunk, state.batch_size, self.frontend.feature_dim)
        x, count, frontend = self.frontend.step(chunk, state.frontend, final)
        x, seen, inputs = self.dropout(x), [], []
        for n, (layer, right) in enumerate(zip(self.layers, self.rights, strict=True)):
            before = state.seen[:, n]
            line = torch.cat([state.inputs[n], x], 1)
            inputs.append(take(line, count, self.left + right))
            seen.append(before + count)
            x, count = self._layer_step(layer, line, before, seen[-1], right, final)
        real = torch.arange(x.size(1), device=x.device) < count[:, None]
        return self.norm(x) * real[:, :, None], WindowState(count, frontend, tuple(inputs), torch.stack(seen, 1))

    def _layer_step(
        self, layer: nn.Module, line: Tensor, before: Tensor, known: Tensor, right: int, final: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the outputs (B, Q, D) of a layer that can now be computed, and how many are valid (B,).

        Args:
            line: (B, W, D) inputs of the layer; frame number `before` (B,) is in column left + right.
            known: (B,) inputs that the layer has received, with those of this step.
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
        return layer(line.flatten(0, 1), index)[0].view(batch, most, -1), count


def _in_frame_order(blocks: Blocks) -> Tensor:
    """Return the cell of the query of each frame: blocks are ordered by segment, frames by utterance."""
    return blocks.centre.cells[torch.argsort(blocks.source[blocks.centre_rows])]

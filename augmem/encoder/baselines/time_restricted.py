"""Time-restricted self-attention: in each layer a frame attends to a fixed number of frames to its left and right.

The look-ahead adds up over the layers. It is chosen so that the total equals the average latency of the segment
encoders, right context + centre / 2, distributed over the layers as evenly as whole frames allow; every layer attends
`left_context` back. Streams need no segments: a layer emits a frame as soon as its right context is complete.

Letters: B streams, T frames, S blocks of queries, Q queries and W cells of a block, R query rows, D model width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

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


class LineStage(NamedTuple):
    """A part of the encoder that computes each output from a window of its inputs.

    Args:
        left, right: frames of the window before and after that of the output.
        run: function of a `Line`, returns outputs (B, Q, D).
    """

    left: int
    right: int
    run: Callable[[Line], Tensor]


class Line(NamedTuple):
    """Inputs of a stage in one step of B streams, and the outputs that can now be computed.

    Args:
        inputs: (B, W, D) earlier inputs that are still needed, then new ones.
        number: (B, W) frame in each column.
        exists: (B, W) bool, columns that hold a frame.
        wanted: (B, Q) frames of the outputs.
        columns: (B, Q) their columns.
        real: (B, Q) bool, outputs that exist.
    """

    inputs: Tensor
    number: Tensor
    exists: Tensor
    wanted: Tensor
    columns: Tensor
    real: Tensor


@dataclass(frozen=True)
class WindowState(StreamState):
    """State of B streams of the time-restricted transformer.

    Args:
        frontend: state of the front end.
        inputs: last inputs (B, left + right, D) of each stage.
        seen: (B, stages) inputs that each stage has received.
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
        self.rights = distribute(self.right + self.centre // 2, config.layers)
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
        rows = torch.where(column < lengths[:, None], offset[:, None] + column, frames.size(0)).to(frames.device)
        x, taps = frames, []
        for number, right in enumerate(self.rights, 1):
            if not self._draw_layer_drop():
                x = self._run_layer(number - 1, x, tables[right])
            if str(number) in self.tap_norms:
                taps.append(unpack(self.tap_norms[str(number)](x), rows))
        return unpack(self.norm(x), rows), taps

    def _run_layer(self, n: int, x: Tensor, index: LayerIndex) -> Tensor:
        """Run layer `n` on packed frames `x` (P, D)."""
        return self.layers[n](x, index)[0]

    def _window(self, lengths: Tensor, right: int, like: Tensor) -> LayerIndex:
        """Build the tables of a layer over packed frames: keys are gathered from neighbouring frames."""
        blocks = to_device(plan_segments(lengths, self.left, _BLOCK, right).blocks, like.device)
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
            head_rows(queries, heads, 1)[0], head_rows(keys, heads, 2), outputs, bias, pooling, pooling, queries,
            query_rows, spaced=cells, positions=cells,
        )  # fmt: skip

    def _stages(self) -> list[LineStage]:
        """Return the stages of a stream: those of the first layer, then those of the second, and so on."""
        layers = zip(self.layers, self.rights, strict=True)
        return [LineStage(self.left, right, partial(self._attend, layer, right)) for layer, right in layers]

    def init_state(self, batch: int) -> StreamState:
        if batch < 1:
            raise ValueError(f"init_state: batch={batch} must be at least 1")
        like, stages = self.norm.weight, self._stages()
        return WindowState(
            emitted=torch.zeros(batch, dtype=torch.int64, device=like.device),
            frontend=self.frontend.init_state(batch),
            inputs=tuple(like.new_zeros(batch, stage.left + stage.right, self.output_dim) for stage in stages),
            seen=torch.zeros(batch, len(stages), dtype=torch.int64, device=like.device),
        )

    def step(self, chunk: Tensor, state: StreamState, final: bool = False) -> tuple[Tensor, StreamState]:
        assert isinstance(state, WindowState)
        check_chunk(chunk, state.batch_size, self.frontend.feature_dim)
        x, count, frontend = self.frontend.step(chunk, state.frontend, final)
        x, seen, inputs = self.dropout(x), [], []
        for n, stage in enumerate(self._stages()):
            before = state.seen[:, n]
            table = torch.cat([state.inputs[n], x], 1)
            inputs.append(take(table, count, stage.left + stage.right))
            seen.append(before + count)
            line, count = line_up(table, stage, before, seen[-1], final)
            x = stage.run(line) if line.wanted.size(1) else table[:, :0]
        real = torch.arange(x.size(1), device=x.device) < count[:, None]
        return self.norm(x) * real[:, :, None], WindowState(count, frontend, tuple(inputs), torch.stack(seen, 1))

    def _attend(self, layer: nn.Module, right: int, line: Line) -> Tensor:
        """Return the outputs (B, Q, D) of a layer."""
        batch, width, _ = line.inputs.shape
        stream = torch.arange(batch, device=line.wanted.device)[:, None] * width
        seen = line.exists[:, None] & self._in_window(line.wanted, line.number, right, line.real)
        cells = torch.arange(line.wanted.numel(), device=line.wanted.device)
        keys = stream + torch.arange(width, device=line.wanted.device)
        rows, queries = (stream + line.columns).flatten(), cells.view_as(line.wanted)
        index = self._tables(queries, cells, keys, additive(seen, line.inputs), rows)
        return layer(line.inputs.flatten(0, 1), index)[0].view(batch, queries.size(1), -1)


def distribute(frames: int, layers: int) -> list[int]:
    """Distribute frames over layers as evenly as whole frames allow; the lower layers have more.

    Example:
        >>> distribute(8, 3)
        [3, 3, 2]
    """
    share, rest = divmod(frames, layers)
    return [share + (n < rest) for n in range(layers)]


def line_up(inputs: Tensor, stage: LineStage, before: Tensor, known: Tensor, final: bool) -> tuple[Line, Tensor]:
    """Return the line of a stage, and how many outputs of each stream are real (B,).

    Args:
        inputs: (B, W, D); frame number `before` (B,) is in column left + right.
        known: (B,) inputs that the stage has received, with those of this step.
        final: whether the streams end.
    """
    width, device = inputs.size(1), inputs.device
    done = (before - stage.right).clamp(min=0)
    count = (known if final else (known - stage.right).clamp(min=0)) - done
    place = torch.arange(int(count.max()), device=device)
    number = (before - stage.left - stage.right)[:, None] + torch.arange(width, device=device)
    wanted = done[:, None] + place
    columns = (wanted - number[:, :1]).clamp(max=width - 1)
    exists = (number >= 0) & (number < known[:, None])
    return Line(inputs, number, exists, wanted, columns, place < count[:, None]), count


def _in_frame_order(blocks: Blocks) -> Tensor:
    """Return the cell of the query of each frame: blocks are ordered by segment, frames by utterance."""
    return blocks.centre.cells[torch.argsort(blocks.source[blocks.centre_rows])]

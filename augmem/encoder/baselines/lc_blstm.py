"""Latency-controlled BLSTM: the encoder that the paper improves on.

A block is [C|R]. In each layer the forward LSTM goes on from where the last centre ended, the backward LSTM
starts afresh at the end of the block; outputs of R serve the layer above and are dropped at the end. Each
layer is normalised first and added to its input, as in the transformers, so that all train alike; `lstm_dim`
null gives each layer as many parameters as a transformer layer of the same config, to within one cell.

Legend: S blocks, W cells of a block, D model width, E cells per direction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from augmem.encoder.base import initialise, unpack
from augmem.encoder.config import EncoderConfig
from augmem.encoder.dropout import Dropout
from augmem.encoder.layer import AugmentedMemoryLayer
from augmem.encoder.norm import LayerNorm
from augmem.encoder.rows import gather
from augmem.encoder.segments import Blocks, Cells, consecutive, plan_segments
from augmem.encoder.streaming import Cut, Recurrent, SegmentEncoder


class BlockLstmLayer(nn.Module):
    """One bidirectional layer over packed block rows."""

    def __init__(self, dim: int, cells: int, dropout: float) -> None:
        super().__init__()
        self.norm = LayerNorm(dim)
        self.ahead = nn.LSTM(dim, cells, batch_first=True)
        self.back = nn.LSTM(dim, cells, batch_first=True)
        self.output = nn.Linear(2 * cells, dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, tables: BlockTables, alive: list[int], start: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (P, D) -> rows (P, D), and the forward state at the end of each block's centre (2, S, E).

        Args:
            alive: number of blocks in each round; a round goes on from the first states of the round before.
            start: (2, S', E) state before the first round's blocks.
        """
        h = self.norm(x)
        centre, ends = self._centres(gather(h, tables.centre), alive, start)
        line = [centre]
        if tables.right.size(1):
            line.append(self.ahead(gather(h, tables.right), _lstm_state(ends))[0])
        ahead = gather(torch.cat(line, 1).flatten(0, 1), tables.ahead)
        back = gather(self.back(gather(h, tables.reverse))[0].flatten(0, 1), tables.back)
        return x + self.dropout(self.output(torch.cat([ahead, back], 1))), ends

    def _centres(self, centre: Tensor, alive: list[int], state: Tensor) -> tuple[Tensor, Tensor]:
        """The only recurrence over blocks. Cells behind a short centre are computed and never read."""
        outputs, ends, begin = [], [], 0
        for count in alive:
            out, (h, c) = self.ahead(centre[begin : begin + count], _lstm_state(state[:, :count]))
            state = torch.cat([h, c])
            outputs.append(out)
            ends.append(state)
            begin += count
        return torch.cat(outputs), torch.cat(ends, 1)


class BlockTables:
    """Rows of the padded centres, right contexts and reversed blocks, and the way back to packed rows."""

    def __init__(self, blocks: Blocks) -> None:
        size = blocks.all.filled.sum(1)
        centre = blocks.centre.filled.sum(1)
        first = (size.cumsum(0) - size)[:, None]
        last = blocks.source.size(0) - 1
        right = consecutive(size - centre)
        self.centre = (first + _columns(blocks.centre)).clamp(max=last)
        self.right = (first + centre[:, None] + _columns(right)).clamp(max=last)
        self.reverse = (first + size[:, None] - 1 - _columns(blocks.all)).clamp(min=0)
        width = blocks.all.rows.size(1)
        block, column = blocks.all.coordinates()
        # Right contexts stand behind the widest centre, whatever the width of their own: only full centres
        # have one.
        self.ahead = block * (self.centre.size(1) + self.right.size(1)) + column
        self.back = block * width + size[block] - 1 - column


class LatencyControlledBlstm(SegmentEncoder):
    """A stack of bidirectional layers. Its state adds `lstm` (B, layers, 2, E): the forward LSTMs' states."""

    def __init__(self, config: EncoderConfig, feature_dim: int, frame_shift: float) -> None:
        super().__init__(config, feature_dim, frame_shift)
        self.block_left = 0
        self.cells = config.lstm_dim or matching_cells(config)
        self.layers = nn.ModuleList(
            [BlockLstmLayer(config.dim, self.cells, config.dropout) for _ in range(config.layers)]
        )
        initialise(self, config.layers)

    def _encode(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor]]:
        plan = plan_segments(lengths, 0, self.centre, self.right, 0)
        tables = BlockTables(plan.blocks)
        start = frames.new_zeros(2, plan.alive[0], self.cells)
        x, taps = gather(frames, plan.blocks.source), []
        for number, layer in enumerate(self.layers, 1):
            if not self._dropped():
                x, _ = layer(x, tables, plan.alive, start)
            if str(number) in self.tap_norms:
                tap = self.tap_norms[str(number)](gather(x, plan.blocks.centre_rows))
                taps.append(unpack(tap, plan.frame_of_output))
        return unpack(self.norm(gather(x, plan.blocks.centre_rows)), plan.frame_of_output), taps

    def _init_recurrent(self, batch: int) -> Recurrent:
        return {"lstm": self.norm.weight.new_zeros(batch, len(self.layers), 2, self.cells)}

    def _tables(self, blocks: Blocks, like: Tensor) -> BlockTables:
        return BlockTables(blocks)

    def _run_segment(self, x: Tensor, cut: Cut, segments: Tensor, state: Recurrent) -> tuple[Tensor, Recurrent]:
        tables, ends = cut.tables, []
        for n, layer in enumerate(self.layers):
            start = state["lstm"][:, n].transpose(0, 1)
            x, end = layer(x, tables, [segments.numel()], start)
            ends.append(end.transpose(0, 1))
        return self.norm(gather(x, cut.blocks.centre_rows)), {"lstm": torch.stack(ends, 1)}


def matching_cells(config: EncoderConfig) -> int:
    """Cells per direction with which a layer has about the parameters of the config's transformer layer."""
    wanted = _parameters(AugmentedMemoryLayer(config))
    # Both directions: 4 gates of D inputs, E states and 2 biases; the output layer; the norm.
    dim = config.dim

    def size(cells: int) -> int:
        return 8 * cells * (dim + cells + 2) + (2 * cells + 1) * dim + 2 * dim

    cells = 1
    while size(cells + 1) <= wanted:
        cells += 1
    return min(cells, cells + 1, key=lambda n: abs(size(n) - wanted))


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _lstm_state(state: Tensor) -> tuple[Tensor, Tensor]:
    """(2, S, E) -> the two (1, S, E) tensors that torch's LSTM takes."""
    return state[:1].contiguous(), state[1:].contiguous()


def _columns(cells: Cells) -> Tensor:
    return torch.arange(cells.rows.size(1), device=cells.rows.device)

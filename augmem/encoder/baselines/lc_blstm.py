"""Latency-controlled BLSTM: the baseline that the paper improves on.

A block is [C|R]. In each layer the forward LSTM continues from the end of the last centre, the backward LSTM starts at
the end of the block; outputs of R are inputs of the next layer and dropped at the end. Layers are pre-norm with
residuals, as in the transformers. Unless `lstm_dim` is set, a layer has as many parameters as a transformer layer of
the same config, to within one cell.

Letters: B streams, S blocks, P packed block rows, K centre rows, W cells of a block, D model width, E cells per
direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from augmem.devices import to_device
from augmem.encoder.base import initialise
from augmem.encoder.config import EncoderConfig
from augmem.encoder.dropout import Dropout
from augmem.encoder.layer import AugmentedMemoryLayer
from augmem.encoder.norm import LayerNorm
from augmem.encoder.rows import gather, unpack
from augmem.encoder.segments import Blocks, Cells, consecutive, plan_segments
from augmem.encoder.state import RecurrentState
from augmem.encoder.streaming import SegmentEncoder


@dataclass(frozen=True)
class LstmState(RecurrentState):
    """States of the forward LSTMs: `values` (B, layers, 2, E)."""

    values: Tensor


class BlockLstmLayer(nn.Module):
    """Bidirectional LSTM layer over packed block rows.

    Args:
        dim: model width D.
        cells: E, cells per direction.
        dropout: dropout rate.
    """

    def __init__(self, dim: int, cells: int, dropout: float) -> None:
        super().__init__()
        self.norm = LayerNorm(dim)
        self.ahead = nn.LSTM(dim, cells, batch_first=True)
        self.back = nn.LSTM(dim, cells, batch_first=True)
        self.output = nn.Linear(2 * cells, dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, tables: BlockTables, alive: list[int], start: Tensor) -> tuple[Tensor, Tensor]:
        """Map rows (P, D) to rows (P, D) and the forward state at the end of each centre (2, S, E).

        Args:
            alive: number of blocks in each round; a round continues from the first states of the round before.
            start: (2, S', E) state before the blocks of the first round.
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
        """Run the forward LSTM over the centres, the only recurrence over blocks. Cells beyond a short centre are
        computed and never read."""
        outputs, ends, begin = [], [], 0
        for count in alive:
            out, (h, c) = self.ahead(centre[begin : begin + count], _lstm_state(state[:, :count]))
            state = torch.cat([h, c])
            outputs.append(out)
            ends.append(state)
            begin += count
        return torch.cat(outputs), torch.cat(ends, 1)


class BlockTables:
    """Rows of padded centres, right contexts and reversed blocks, and the inverse mapping to packed rows.

    Args:
        blocks: blocks [C|R].
    """

    def __init__(self, blocks: Blocks) -> None:
        size, centre = blocks.all.counts, blocks.centre.counts
        first = (size.cumsum(0) - size)[:, None]
        last = blocks.source.size(0) - 1
        right = consecutive(size - centre)
        self.centre = (first + _columns(blocks.centre)).clamp(max=last)
        self.right = (first + centre[:, None] + _columns(right)).clamp(max=last)
        self.reverse = (first + size[:, None] - 1 - _columns(blocks.all)).clamp(min=0)
        width = blocks.all.rows.size(1)
        block, column = blocks.all.coordinates()
        # Right contexts follow the widest centre: only full centres have a right context.
        self.ahead = block * (self.centre.size(1) + self.right.size(1)) + column
        self.back = block * width + size[block] - 1 - column


class LatencyControlledBlstm(SegmentEncoder):
    """Stack of latency-controlled bidirectional LSTM layers.

    Args:
        config: sizes and options.
        feature_dim: feature bins F.
        frame_shift: seconds between feature frames.
    """

    def __init__(self, config: EncoderConfig, feature_dim: int, frame_shift: float) -> None:
        super().__init__(config, feature_dim, frame_shift)
        self.block_left = 0
        self.cells = config.lstm_dim or matching_cells(config)
        self.layers = nn.ModuleList(
            [BlockLstmLayer(config.dim, self.cells, config.dropout) for _ in range(config.layers)]
        )
        initialise(self, config.layers)

    def _encode(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor]]:
        plan = to_device(plan_segments(lengths, 0, self.centre, self.right), frames.device)
        tables = BlockTables(plan.blocks)
        start = frames.new_zeros(2, plan.alive[0], self.cells)
        x, taps = gather(frames, plan.blocks.source), []
        for number, layer in enumerate(self.layers, 1):
            if not self._draw_layer_drop():
                x, _ = layer(x, tables, plan.alive, start)
            if str(number) in self.tap_norms:
                tap = self.tap_norms[str(number)](gather(x, plan.blocks.centre_rows))
                taps.append(unpack(tap, plan.frame_of_output))
        return unpack(self.norm(gather(x, plan.blocks.centre_rows)), plan.frame_of_output), taps

    def _init_recurrent(self, batch: int) -> LstmState:
        return LstmState(self.norm.weight.new_zeros(batch, len(self.layers), 2, self.cells))

    def _tables(self, blocks: Blocks, like: Tensor) -> BlockTables:
        return BlockTables(blocks)

    def _run_segment(
        self, x: Tensor, blocks: Blocks, tables: BlockTables, state: LstmState
    ) -> tuple[Tensor, LstmState]:
        ends = []
        for n, layer in enumerate(self.layers):
            x, end = layer(x, tables, [state.batch_size], state.values[:, n].transpose(0, 1))
            ends.append(end.transpose(0, 1))
        return self.norm(gather(x, blocks.centre_rows)), LstmState(torch.stack(ends, 1))


def matching_cells(config: EncoderConfig) -> int:
    """Return the cells per direction that give a layer about the parameters of a transformer layer of the config."""
    wanted = _parameters(AugmentedMemoryLayer(config))
    # Both directions: 4 gates with D inputs, E states and 2 biases; output layer; norm.
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
    """Split (2, S, E) into the two (1, S, E) tensors of torch's LSTM."""
    return state[:1].contiguous(), state[1:].contiguous()


def _columns(cells: Cells) -> Tensor:
    return torch.arange(cells.rows.size(1), device=cells.rows.device)

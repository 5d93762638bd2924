"""Streaming of segment encoders: wait for segments, cut them from chunks of any size, keep what later ones need.

Letters: B streams, T frames, S streams with a complete segment, P packed block rows, K centre rows, D model width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from augmem.encoder.base import Encoder
from augmem.encoder.config import EncoderConfig
from augmem.encoder.frontend import FrontendState
from augmem.encoder.rows import gather, take
from augmem.encoder.segments import Blocks, cut_blocks
from augmem.encoder.state import RecurrentState, StreamState

_MAX_CACHED_TABLES = 64
Outputs = tuple[Tensor, Tensor, Tensor]  # stream (K,) of each row, its position in this step (K,), rows (K, D)


@dataclass(frozen=True)
class SegmentState(StreamState):
    """State of B streams of a segment encoder.

    Args:
        frontend: state of the front end.
        history: (B, L + C + R - 1, D) last frames of the front end, which later blocks may need.
        frames: (B,) frames received.
        segments: (B,) segments processed.
        recurrent: state of the layers.
    """

    frontend: FrontendState
    history: Tensor
    frames: Tensor
    segments: Tensor
    recurrent: RecurrentState

    def limit_memory(self, segments: int) -> SegmentState:
        return replace(self, recurrent=self.recurrent.limit_memory(segments))


class SegmentEncoder(Encoder):
    """Encoder that processes segment after segment.

    Subclasses provide `_init_recurrent`, `_run_segment` and `_tables`.
    """

    def __init__(self, config: EncoderConfig, feature_dim: int, frame_shift: float) -> None:
        super().__init__(config, feature_dim, frame_shift)
        self.block_left = self.left  # left-context frames that are part of a block
        self._cached_tables: dict[Any, tuple[Blocks, Any]] = {}

    def _init_recurrent(self, batch: int) -> RecurrentState:
        raise NotImplementedError

    def _tables(self, blocks: Blocks, like: Tensor) -> Any:
        """Build what `_run_segment` needs for blocks; depends on their sizes only."""
        raise NotImplementedError

    def _run_segment(self, x: Tensor, blocks: Blocks, tables: Any, state: Any) -> tuple[Tensor, Any]:
        """Process one block of each stream: block rows `x` (P, D) -> centre rows (K, D) and the new state."""
        raise NotImplementedError

    def init_state(self, batch: int) -> StreamState:
        if batch < 1:
            raise ValueError(f"init_state: batch={batch} must be at least 1")
        like = self.norm.weight
        count = torch.zeros(batch, dtype=torch.int64, device=like.device)
        return SegmentState(
            emitted=count,
            frontend=self.frontend.init_state(batch),
            history=like.new_zeros(batch, self.block_left + self.centre + self.right - 1, self.output_dim),
            frames=count,
            segments=count,
            recurrent=self._init_recurrent(batch),
        )

    def step(self, chunk: Tensor, state: StreamState, final: bool = False) -> tuple[Tensor, StreamState]:
        assert isinstance(state, SegmentState)
        check_chunk(chunk, state.batch_size, self.frontend.feature_dim)
        frames, count, frontend = self.frontend.step(chunk, state.frontend, final)
        line = torch.cat([state.history, self.dropout(frames)], 1)
        known = state.frames + count
        first = state.frames - state.history.size(1)  # number of the frame in column 0 of the line
        segments, recurrent = state.segments, state.recurrent
        emitted = torch.zeros_like(segments)
        outputs: list[Outputs] = []
        while True:
            need = 1 if final else self.centre + self.right
            ready = (known - segments * self.centre >= need).nonzero().squeeze(1)
            if ready.numel() == 0:
                break
            blocks, tables, source = self._cut(ready, first, known, segments, line)
            hidden, new = self._run_segment(gather(line.flatten(0, 1), source), blocks, tables, recurrent.select(ready))
            recurrent = recurrent.put(ready, new)
            segments = segments.index_add(0, ready, torch.ones_like(ready))
            block, position = blocks.centre.coordinates()
            outputs.append((ready[block], emitted[ready][block] + position, hidden))
            emitted = emitted.index_add(0, ready, blocks.centre.counts)
        history = take(line, count, state.history.size(1))
        return join_outputs(outputs, emitted, frames[..., : self.output_dim]), SegmentState(
            emitted, frontend, history, known, segments, recurrent
        )

    def _cut(
        self, ready: Tensor, first: Tensor, known: Tensor, segments: Tensor, line: Tensor
    ) -> tuple[Blocks, Any, Tensor]:
        """Cut the next block of each stream in `ready` (S,).

        Returns:
            the blocks, their tables, and the positions of their rows (P,) in `line` (B, W, D).
        """
        start = segments[ready] * self.centre
        left = start.clamp(max=self.block_left)
        centre = (known[ready] - start).clamp(max=self.centre)
        right = (known[ready] - start - self.centre).clamp(0, self.right)
        blocks, tables = self._blocks_of_sizes(torch.stack([left, centre, right]), line)
        begin = ready * line.size(1) + start - left - first[ready]
        return blocks, tables, blocks.source + begin[blocks.all.coordinates()[0]]

    def _blocks_of_sizes(self, sizes: Tensor, like: Tensor) -> tuple[Blocks, Any]:
        """Return blocks of left, centre and right `sizes` (3, S) and their tables, cached: most segments have the same
        sizes. `source` counts from the first frame of each block."""
        key = (like.device, like.dtype, tuple(map(tuple, sizes.tolist())))
        if key not in self._cached_tables:
            if len(self._cached_tables) >= _MAX_CACHED_TABLES:
                self._cached_tables.clear()
            with torch.inference_mode(False):  # tables built in inference mode could not be used in training
                left, centre, right = torch.tensor(key[2], dtype=torch.int64, device=like.device)
                blocks = cut_blocks(torch.zeros_like(left), left, centre, right)
                self._cached_tables[key] = blocks, self._tables(blocks, like.new_empty(0))
        return self._cached_tables[key]


def check_chunk(chunk: Tensor, batch: int, feature_dim: int) -> None:
    """Check that the shape of a chunk matches the state.

    Args:
        chunk: (B, T, F).
        batch: expected B.
        feature_dim: expected F.

    Raises:
        ValueError: they do not match.
    """
    if chunk.dim() != 3 or chunk.size(0) != batch or chunk.size(2) != feature_dim:
        raise ValueError(f"step: chunk of shape {tuple(chunk.shape)} must be ({batch}, T, {feature_dim})")


def join_outputs(outputs: list[Outputs], emitted: Tensor, like: Tensor) -> Tensor:
    """Place the outputs of all rounds in (B, T', D), zero beyond each stream's `emitted` (B,) rows."""
    hidden = like.new_zeros(like.size(0), int(emitted.max()), like.size(2))
    if not outputs:
        return hidden
    streams, positions, rows = map(torch.cat, zip(*outputs, strict=True))
    return hidden.index_put((streams, positions), rows)

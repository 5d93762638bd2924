"""Streams in pieces of any size: waiting for segments, cutting them, and keeping what later ones need.

Legend: B streams, T frames, S streams with a segment ready, P packed block rows, K centre rows, D model
width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from augmem.encoder.base import Encoder
from augmem.encoder.config import EncoderConfig
from augmem.encoder.rows import gather, take
from augmem.encoder.segments import Blocks, cut_blocks

State = dict[str, Tensor]
Recurrent = dict[str, Tensor]  # what one segment leaves for the next, batch first
_CUTS_KEPT = 64


class Cut(NamedTuple):
    """Blocks of certain sizes, wherever they begin: nearly all segments of all streams are cut alike.

    blocks: their `source` counts from each block's first frame.
    owner: (P,) which block a row belongs to.
    centre: (S,) sizes of the centres.
    outputs: (K,) block of each centre row, and its place in the centre.
    tables: what the encoder's layers make of the blocks.
    """

    blocks: Blocks
    owner: Tensor
    centre: Tensor
    outputs: tuple[Tensor, Tensor]
    tables: Any


class SegmentEncoder(Encoder):
    """An encoder that works segment by segment.

    Subclasses provide `_init_recurrent`, `_run_segment` and the tables for it.

    A stream's state holds, batch first: the front end's left-over features and convolution inputs; `history`,
    its last frames that a coming block may need; `frames` and `segments`, how many were seen and how many
    emitted; `emitted`, the number of outputs of the last step; and what the subclass adds. All zero is a new
    stream.
    """

    def __init__(self, config: EncoderConfig, feature_dim: int, frame_shift: float) -> None:
        super().__init__(config, feature_dim, frame_shift)
        self.block_left = self.left  # left-context frames that are part of a block
        self._cuts: dict[Any, Cut] = {}

    def _init_recurrent(self, batch: int) -> Recurrent:
        raise NotImplementedError

    def _tables(self, blocks: Blocks, like: Tensor) -> Any:
        """What `_run_segment` needs to know of blocks; it depends on their sizes alone."""
        raise NotImplementedError

    def _run_segment(self, x: Tensor, cut: Cut, segments: Tensor, state: Recurrent) -> tuple[Tensor, Recurrent]:
        """Block rows `x` (P, D) of segment number `segments` (S,) -> centre rows (K, D) and the new state."""
        raise NotImplementedError

    def init_state(self, batch: int) -> State:
        if batch < 1:
            raise ValueError(f"init_state: batch={batch} must be at least 1")
        like = self.norm.weight
        count = torch.zeros(batch, dtype=torch.int64, device=like.device)
        state = self.frontend.init_state(batch)
        state["history"] = like.new_zeros(batch, self.block_left + self.centre + self.right - 1, self.output_dim)
        state.update(frames=count, segments=count.clone(), emitted=count.clone())
        return state | self._init_recurrent(batch)

    def step(self, chunk: Tensor, state: State, final: bool = False) -> tuple[Tensor, State]:
        check_chunk(chunk, state["frames"].size(0), self.frontend.feature_dim)
        frames, count, new_state = self.frontend.step(chunk, state, final)
        line = torch.cat([state["history"], self.dropout(frames)], 1)
        known = state["frames"] + count
        first = state["frames"] - state["history"].size(1)  # number of the frame in column 0 of the line
        own = set(new_state) | {"history", "frames", "segments", "emitted"}
        recurrent = {name: value for name, value in state.items() if name not in own}
        segments = state["segments"]
        emitted = torch.zeros_like(segments)
        outputs: list[Outputs] = []
        while True:
            need = 1 if final else self.centre + self.right
            ready = (known - segments * self.centre >= need).nonzero().squeeze(1)
            if ready.numel() == 0:
                break
            cut, source = self._cut(ready, line, first, known, segments)
            mine = {name: value[ready] for name, value in recurrent.items()}
            hidden, mine = self._run_segment(gather(line.flatten(0, 1), source), cut, segments[ready], mine)
            recurrent = {name: put_streams(value, mine[name], ready) for name, value in recurrent.items()}
            segments = segments.index_add(0, ready, torch.ones_like(ready))
            block, place = cut.outputs
            outputs.append((ready[block], emitted[ready][block] + place, hidden))
            emitted = emitted.index_add(0, ready, cut.centre)
        new_state["history"] = take(line, count, state["history"].size(1))
        new_state.update(frames=known, segments=segments, emitted=emitted)
        return join_outputs(outputs, emitted, frames), new_state | recurrent

    def _cut(self, ready: Tensor, line: Tensor, first: Tensor, known: Tensor, segments: Tensor) -> tuple[Cut, Tensor]:
        """The next block of each stream in `ready` (S,), and the places of its rows (P,) in `line` (B, W, D)."""
        start = segments[ready] * self.centre
        left = start.clamp(max=self.block_left)
        centre = (known[ready] - start).clamp(max=self.centre)
        right = (known[ready] - start - self.centre).clamp(0, self.right)
        cut = self._cut_of_sizes(torch.stack([left, centre, right]), line)
        begin = ready * line.size(1) + start - left - first[ready]
        return cut, cut.blocks.source + begin[cut.owner]

    def _cut_of_sizes(self, sizes: Tensor, like: Tensor) -> Cut:
        """Blocks of `sizes` (3, S), made once."""
        key = (like.device, like.dtype, tuple(map(tuple, sizes.tolist())))
        if key not in self._cuts:
            if len(self._cuts) >= _CUTS_KEPT:
                self._cuts.clear()
            with torch.inference_mode(False):  # tables made in inference mode could not serve in training
                left, centre, right = torch.tensor(key[2], dtype=torch.int64, device=like.device)
                blocks = cut_blocks(torch.zeros_like(left), left, centre, right)
                owner, _ = blocks.all.coordinates()
                tables = self._tables(blocks, like.new_empty(0))
                self._cuts[key] = Cut(blocks, owner, centre, blocks.centre.coordinates(), tables)
        return self._cuts[key]


Outputs = tuple[Tensor, Tensor, Tensor]  # stream (K,) of each row, its place in this step (K,), rows (K, D)


def check_chunk(chunk: Tensor, batch: int, feature_dim: int) -> None:
    """Refuse a chunk that does not fit the state."""
    if chunk.dim() != 3 or chunk.size(0) != batch or chunk.size(2) != feature_dim:
        raise ValueError(f"step: chunk of shape {tuple(chunk.shape)} must be ({batch}, T, {feature_dim})")


def join_outputs(outputs: list[Outputs], emitted: Tensor, like: Tensor) -> Tensor:
    """Outputs of all rounds as (B, T', D), zero behind each stream's own `emitted` (B,)."""
    hidden = like.new_zeros(like.size(0), int(emitted.max()), like.size(2))
    if not outputs:
        return hidden
    streams, places, rows = map(torch.cat, zip(*outputs, strict=True))
    return hidden.index_put((streams, places), rows)


def put_streams(value: Tensor, new: Tensor, streams: Tensor) -> Tensor:
    """`value` (B, ...) with the rows of `streams` (S,) replaced; banks that grew are padded where nobody
    looks."""
    if streams.numel() == value.size(0):
        return new
    return widen(value, new).index_copy(0, streams, new)


def widen(value: Tensor, like: Tensor) -> Tensor:
    """Pad the second last dimension at its beginning: slots stand at the end of a bank."""
    return F.pad(value, (0, 0, like.size(-2) - value.size(-2), 0)) if value.dim() > 4 else value


def stack_states(states: list[State]) -> State:
    """Join the states of several batches of streams into one, in order."""
    if not states:
        raise ValueError("stack_states: needs at least one state")
    return {name: _stack([state[name] for state in states]) for name in states[0]}


def _stack(values: list[Tensor]) -> Tensor:
    widest = max(values, key=lambda value: value.size(-2) if value.dim() > 4 else 0)
    return torch.cat([widen(value, widest) for value in values])


def select_streams(state: State, streams: Tensor) -> State:
    """The state of some streams (their numbers, int64): to split a batch, drop streams or put them in
    order."""
    return {name: value[streams] for name, value in state.items()}


def reset_streams(state: State, streams: Tensor) -> State:
    """The state with some streams (their numbers, int64) as new ones: all zero."""
    return {name: value.index_fill(0, streams, 0) for name, value in state.items()}

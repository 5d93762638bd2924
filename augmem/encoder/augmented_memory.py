"""The paper's encoder: all segments of a layer at once in training, segment after segment in a stream.

Source: Wu, Wang, Shi, Yeh, Zhang, "Streaming Transformer-based Acoustic Models Using Self-attention with Augmented
Memory", Interspeech 2020, arXiv 2005.08042. How the first and the last segment are cut: see `segments`.

Legend: B streams, T frames, D model width, L, C, R contexts in frames, H heads, d head width, J memory columns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from augmem.encoder.attention import index_memory
from augmem.encoder.base import Encoder, initialise, unpack
from augmem.encoder.config import EncoderConfig
from augmem.encoder.layer import AugmentedMemoryLayer, LayerIndex, index_layers
from augmem.encoder.rows import additive, gather, take
from augmem.encoder.segments import Plan, cut_blocks, plan_segments


class AugmentedMemoryEncoder(Encoder):
    """Augmented-memory transformer over [L|C|R] segments.

    A stream's state holds, batch first: the front end's left-over features and convolution caches; `history`, the
    last L + C + R - 1 encoder frames; `frames` and `segments`, how many were seen and how many emitted; `memory`,
    (B, layers, 2, H, J, d) keys and values of the memory slots, newest last; `emitted`, outputs of the last step.
    With `memory_slots` set its size never changes; without, `memory` grows by one column per segment.
    """

    def __init__(self, config: EncoderConfig, feature_dim: int, frame_shift: float) -> None:
        super().__init__(config, feature_dim, frame_shift)
        self.heads = config.heads
        self.layers = nn.ModuleList([AugmentedMemoryLayer(config) for _ in range(config.layers)])
        initialise(self, config.layers)

    def _encode(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor]]:
        plan = plan_segments(lengths, self.left, self.centre, self.right, self.config.memory_slots)
        lower, last = index_layers(plan.blocks, self.config, frames)
        memory = index_memory(plan, self.heads, frames)
        x = gather(frames, plan.blocks.source)
        taps: list[Tensor] = []
        for number, layer in enumerate(self.layers, 1):
            top = number == len(self.layers)
            if not self._dropped():
                x = layer(x, last if top else lower, memory)
            elif top:
                x = gather(x, last.query_rows)
            if str(number) in self.tap_norms:
                taps.append(self._tap(number, x, plan, top))
        return unpack(self.norm(x), plan.frame_of_output), taps

    def _dropped(self) -> bool:
        rate = self.config.layer_drop
        return self.training and rate > 0 and bool(torch.rand(()) < rate)

    def _tap(self, number: int, x: Tensor, plan: Plan, top: bool) -> Tensor:
        centre = x if top else gather(x, plan.blocks.centre_rows)
        return unpack(self.tap_norms[str(number)](centre), plan.frame_of_output)

    def init_state(self, batch: int) -> dict[str, Tensor]:
        if batch < 1:
            raise ValueError(f"init_state: batch={batch} must be at least 1")
        like = self.norm.weight
        slots = self.config.memory_slots or 0
        shape = (batch, len(self.layers), 2, self.heads, slots, self.output_dim // self.heads)
        count = torch.zeros(batch, dtype=torch.int64, device=like.device)
        state = self.frontend.init_state(batch)
        state["history"] = like.new_zeros(batch, self.left + self.centre + self.right - 1, self.output_dim)
        state["memory"] = like.new_zeros(shape)
        state.update(frames=count, segments=count.clone(), emitted=count.clone())
        return state

    def step(self, chunk: Tensor, state: dict[str, Tensor], final: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
        new_frames, count, new_state = self.frontend.step(chunk, state, final)
        line = torch.cat([state["history"], self.dropout(new_frames)], 1)
        known = state["frames"] + count
        begin = state["frames"] - state["history"].size(1)  # the frame in column 0 of the line
        segments, memory = state["segments"], state["memory"]
        outputs: list[tuple[Tensor, Tensor, Tensor]] = []
        while True:
            need = 1 if final else self.centre + self.right
            ready = (known - segments * self.centre >= need).nonzero().squeeze(1)
            if ready.numel() == 0:
                break
            hidden, sizes, slot = self._segment(line, begin, known, segments, memory, ready)
            outputs.append((ready, sizes, hidden))
            memory = self._append(memory, slot, ready)
            segments = segments.index_add(0, ready, torch.ones_like(ready))
        hidden, emitted = self._join(outputs, new_frames)
        new_state["history"] = take(line, count, state["history"].size(1))
        new_state.update(memory=memory, frames=known, segments=segments, emitted=emitted)
        return hidden, new_state

    def _segment(
        self, line: Tensor, begin: Tensor, known: Tensor, segments: Tensor, memory: Tensor, ready: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One segment of each stream in `ready`: packed outputs, their counts (S,), slots (S, layers, 2, H, J', d)."""
        start = segments[ready] * self.centre
        left = start.clamp(max=self.left)
        centre = (known[ready] - start).clamp(max=self.centre)
        right = (known[ready] - start - self.centre).clamp(0, self.right)
        first = ready * line.size(1) + start - left - begin[ready]
        lower, last = index_layers(cut_blocks(first, left, centre, right), self.config, line)
        source = cut_blocks(first, left, centre, right).source
        seen = self._seen(segments[ready], memory)
        x = gather(line.flatten(0, 1), source)
        slots: list[Tensor] = []
        for number, layer in enumerate(self.layers):
            index: LayerIndex = last if number == len(self.layers) - 1 else lower
            x, slot = layer.step(x, index, memory[ready, number].transpose(0, 1), seen)
            slots.append(slot.transpose(0, 1))
        return self.norm(x), centre, torch.stack(slots, 1)

    def _seen(self, segments: Tensor, memory: Tensor) -> Tensor:
        """Additive mask (S, 1, J) of the memory columns: a stream's newest slots stand at the right."""
        columns = memory.size(4)
        from_right = torch.arange(columns, 0, -1, device=memory.device)
        return additive((from_right <= segments[:, None])[:, None], memory)

    def _append(self, memory: Tensor, slot: Tensor, ready: Tensor) -> Tensor:
        """Put a slot at the right end of the banks of the streams in `ready`; bounded banks drop their oldest."""
        if self.config.memory_slots == 0:
            return memory
        if self.config.memory_slots is None:
            memory = torch.nn.functional.pad(memory, (0, 0, 1, 0))
        moved = torch.cat([memory[ready][:, :, :, :, 1:], slot], 4)
        return memory.index_copy(0, ready, moved)

    def _join(self, outputs: list[tuple[Tensor, Tensor, Tensor]], like: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs of all rounds as (B, T', D), zero behind each stream's own, and their counts (B,)."""
        batch = like.size(0)
        emitted = torch.zeros(batch, dtype=torch.int64, device=like.device)
        streams, places = [], []
        for ready, sizes, _ in outputs:
            streams.append(ready.repeat_interleave(sizes))
            offset = torch.arange(int(sizes.sum()), device=like.device) - (sizes.cumsum(0) - sizes).repeat_interleave(
                sizes
            )
            places.append(emitted[streams[-1]] + offset)
            emitted = emitted.index_add(0, ready, sizes)
        hidden = like.new_zeros(batch, int(emitted.max()), self.output_dim)
        if not outputs:
            return hidden, emitted
        rows = torch.cat([out[2] for out in outputs])
        return hidden.index_put((torch.cat(streams), torch.cat(places)), rows), emitted

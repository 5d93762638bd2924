"""The streaming step with fixed shapes, for export: every step takes a segment's centre and gives one, or nothing.

`SegmentEncoder.step` takes chunks of any size and decides by their content how many segments to run; no tracer can
follow that. Here a step always takes C encoder frames' worth of features and always runs one block [L|C|R], the one
whose right context has just become known; frames that do not exist are masked. The layers are the encoder's own.

Legend: B streams, F features, D model width, W = L + C + R frames of a block, H heads, d head width, M memory slots,
delay: steps that a segment waits for its right context, ceil(R / C).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from augmem.encoder.attention import BlockIndex
from augmem.encoder.augmented_memory import AugmentedMemoryEncoder, memory_shape, newest
from augmem.encoder.base import Encoder
from augmem.encoder.layer import LayerIndex, index_layers
from augmem.encoder.rows import additive
from augmem.encoder.segments import cut_blocks


class StaticStep(nn.Module):
    """One step of `batch` streams; each gets `encoder.chunk_frames` feature frames, zero padded at its end.

    A stream is over when it has been given its last frames and then `delay` steps without any.

    Args:
        encoder: an augmented-memory encoder.
        batch: number of streams B.
        slots: memory slots M; needed where the encoder's bank has no bound, else the encoder's own. An unbounded
            bank is imitated exactly for as long as a stream has no more than M + 1 segments.

    Raises:
        ValueError: another type of encoder, or no bound.
    """

    def __init__(self, encoder: Encoder, batch: int = 1, slots: int | None = None) -> None:
        super().__init__()
        if not isinstance(encoder, AugmentedMemoryEncoder) or encoder.config.type != "augmented_memory":
            raise ValueError(f"encoder.type {encoder.config.type}: only augmented_memory has a step of fixed shapes")
        bound = encoder.config.memory_slots if slots is None else slots
        if bound is None:
            raise ValueError("the memory bank has no bound: say how many slots a stream may keep (--memory-slots)")
        self.encoder, self.batch, self.slots = encoder, batch, bound
        self.delay = -(-encoder.right // encoder.centre)
        size = torch.ones(batch, dtype=torch.int64)
        blocks = cut_blocks(0 * size, encoder.left * size, encoder.centre * size, encoder.right * size)
        self.lower, self.last = index_layers(blocks, encoder.config, encoder.norm.weight.detach().cpu())

    @property
    def chunk_frames(self) -> int:
        """Feature frames of one step."""
        return self.encoder.chunk_frames

    def init_state(self) -> dict[str, Tensor]:
        """State of new streams: zeros, batch first."""
        encoder, like = self.encoder, self.encoder.norm.weight
        frontend = encoder.frontend
        state = {
            f"convolution_{i}": like.new_zeros(self.batch, frontend.channels[i], convolution.cache, frontend.bins[i])
            for i, convolution in enumerate(frontend.convolutions)
            if convolution.cache
        }
        width = encoder.left + (1 + self.delay) * encoder.centre
        state["line"] = like.new_zeros(self.batch, width, encoder.output_dim)
        if self.slots:
            state["memory"] = like.new_zeros(self.batch, *memory_shape(encoder.config, self.slots))
        state["frames"] = torch.zeros(self.batch, dtype=torch.int64)
        state["steps"] = torch.zeros(self.batch, dtype=torch.int64)
        return state

    def forward(self, features: Tensor, real: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        """Run one step.

        Args:
            features: (B, chunk_frames, F).
            real: (B,) int64, how many of them are real: all but at a stream's end.
            values: the state, in the order of `init_state`.

        Returns:
            hidden (B, C, D), how many of its rows are outputs (B,), and the new state's values.
        """
        state = dict(zip(self.init_state(), values, strict=True))
        encoder = self.encoder
        new, frames = self._frontend(features, real, state)
        line = torch.cat([state["line"][:, encoder.centre :], frames], 1)
        known = state["frames"] + encoder.frontend.output_lengths(real)
        segment = state["steps"] - self.delay
        valid, emitted = self._valid(segment, known)
        hidden, memory = self._layers(line[:, : valid.size(1)].flatten(0, 1), valid, segment, state.get("memory"))
        new["line"] = line
        if memory is not None:
            new["memory"] = torch.where((emitted > 0)[:, None, None, None, None, None], memory, state["memory"])
        new["frames"], new["steps"] = known, state["steps"] + 1
        return hidden.view(self.batch, encoder.centre, -1), emitted, *new.values()

    def _frontend(self, features: Tensor, real: Tensor, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """New convolution inputs to keep, and encoder frames (B, C, D)."""
        frontend, new = self.encoder.frontend, {}
        behind = torch.arange(self.chunk_frames) >= real[:, None]
        x = features.masked_fill(behind[:, :, None], 0.0)[:, None]
        for i, convolution in enumerate(frontend.convolutions):
            if convolution.cache:
                x = torch.cat([state[f"convolution_{i}"], x], 2)
                new[f"convolution_{i}"] = x[:, :, x.size(2) - convolution.cache :]
            x = convolution(x)
        return new, frontend.projection(x.permute(0, 2, 3, 1).flatten(2))

    def _valid(self, segment: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Which frames of each stream's block exist (B, W), and how many of its centre do (B,)."""
        encoder = self.encoder
        start = segment * encoder.centre
        frame = start[:, None] - encoder.left + torch.arange(encoder.left + encoder.centre + encoder.right)
        emitted = torch.where(segment >= 0, (known - start).clamp(0, encoder.centre), torch.zeros_like(known))
        return (frame >= 0) & (frame < known[:, None]), emitted

    def _layers(self, x: Tensor, valid: Tensor, segment: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Block rows (B * W, D) -> centre rows (B * C, D) and the memory with one more slot."""
        encoder = self.encoder
        attended = valid | ~valid.any(1, keepdim=True)  # where there is nothing at all, anything but NaN will do
        centre = attended[:, encoder.left : encoder.left + encoder.centre]
        none = x.new_zeros(self.batch, *memory_shape(encoder.config, 0))
        bank = none if memory is None else memory
        seen = newest(segment.clamp(min=0), self.slots, x)
        inside = nn.functional.pad(centre, (encoder.left, encoder.right))
        lower, last = masked(self.lower, attended, inside), masked(self.last, attended, centre)
        slots = []
        for number, layer in enumerate(encoder.layers, 1):
            index = last if number == len(encoder.layers) else lower
            x, slot = layer.step(x, index, bank[:, number - 1].transpose(0, 1), seen)
            slots.append(slot.transpose(0, 1))
        if memory is not None:
            memory = torch.cat([memory[:, :, :, :, 1:], torch.stack(slots, 1)], 4)
        return encoder.norm(x), memory


def masked(index: LayerIndex, valid: Tensor, pooled: Tensor) -> LayerIndex:
    """The tables of full blocks with some frames missing.

    Args:
        valid: (B, W) block frames that exist.
        pooled: (B, Q) query rows that the summary query averages.
    """
    bias = additive(valid[:, None], index.attention.bias)
    weights = pooled.to(bias.dtype)
    mean = (weights / weights.sum(1, keepdim=True).clamp(min=1))[:, None]
    attention: BlockIndex = index.attention._replace(bias=bias, pooling=mean)
    rows = valid.numel()
    exists = torch.cat([valid.flatten(), valid.new_zeros(1)])  # row `rows` is the gap between blocks
    spaced = torch.where(exists[index.spaced], index.spaced, torch.full_like(index.spaced, rows))
    return index._replace(attention=attention, spaced=spaced)

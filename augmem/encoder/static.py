"""Streaming step with fixed shapes, for export.

`SegmentEncoder.step` takes chunks of any size and decides by their content how many segments to run, which tracers
cannot follow. Here each step takes the features of C encoder frames and runs one block [L|C|R], the one whose right
context has just become complete; frames that do not exist are masked. The layers are those of the encoder.

Letters: B streams, F features, D model width, W = L + C + R frames of a block, H heads, d head width, M size of the
bank. The delay is the number of steps that a segment waits for its right context, ceil(R / C).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from augmem.encoder.augmented_memory import AugmentedMemoryEncoder, bank_shape
from augmem.encoder.base import Encoder
from augmem.encoder.index import LayerIndex, index_layers
from augmem.encoder.rows import additive, newest
from augmem.encoder.segments import cut_blocks
from augmem.errors import UserError


class StaticStep(nn.Module):
    """Streaming step of `batch` streams; each receives `chunk_frames` feature frames, zero padded at its end.

    A stream ends `delay` steps after its last frames; these steps receive no frames.

    Args:
        encoder: an augmented-memory encoder.
        batch: number of streams B.
        bank_size: size M of the memory bank; required if the encoder's bank is unlimited, otherwise that of the
            encoder. With an unlimited bank, outputs are exact for streams of up to M + 1 segments.

    Raises:
        UserError: another type of encoder, or no bank size.

    Example:
        >>> from augmem.encoder import EncoderConfig, build_encoder
        >>> config = EncoderConfig(dim=8, heads=2, layers=1, feedforward_dim=8, memory_slots=4)
        >>> step = StaticStep(build_encoder(config, 80, 0.01).eval())
        >>> state = step.init_state()
        >>> features = torch.zeros(1, step.chunk_frames, 80)
        >>> hidden, count, *values = step(features, torch.tensor([step.chunk_frames]), *state.values())
        >>> hidden.shape, count.tolist()  # the first step waits for right context
        (torch.Size([1, 32, 8]), [0])
    """

    def __init__(self, encoder: Encoder, batch: int = 1, bank_size: int | None = None) -> None:
        super().__init__()
        encoder = check_augmented_memory(encoder)
        size = encoder.config.memory_slots if bank_size is None else bank_size
        if size is None:
            raise UserError("--bank-size: required, because the memory bank of the model is unlimited")
        self.encoder, self.batch, self.bank_size = encoder, batch, size
        self.delay = -(-encoder.right // encoder.centre)
        one = torch.ones(batch, dtype=torch.int64)
        blocks = cut_blocks(0 * one, encoder.left * one, encoder.centre * one, encoder.right * one)
        self.lower, self.last = index_layers(blocks, encoder.config, encoder.norm.weight.detach().cpu())

    @property
    def chunk_frames(self) -> int:
        """Feature frames of one step."""
        return self.encoder.chunk_frames

    def init_state(self) -> dict[str, Tensor]:
        """Return the state of new streams by name: zeros, batch first."""
        encoder, like = self.encoder, self.encoder.norm.weight
        frontend = encoder.frontend
        state = {
            f"convolution_{i}": like.new_zeros(self.batch, frontend.channels[i], convolution.cache, frontend.bins[i])
            for i, convolution in enumerate(frontend.convolutions)
            if convolution.cache
        }
        width = encoder.left + (1 + self.delay) * encoder.centre
        state["line"] = like.new_zeros(self.batch, width, encoder.output_dim)
        if self.bank_size:
            state["memory"] = like.new_zeros(self.batch, *bank_shape(encoder.config, self.bank_size))
        state["frames"] = torch.zeros(self.batch, dtype=torch.int64)
        state["steps"] = torch.zeros(self.batch, dtype=torch.int64)
        return state

    def forward(self, features: Tensor, valid: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        """Run one step.

        Args:
            features: (B, chunk_frames, F).
            valid: (B,) int64, valid frames among them: all, except at the end of a stream.
            values: the state, in the order of `init_state`.

        Returns:
            hidden (B, C, D), how many of its rows are outputs (B,), and the values of the new state.
        """
        state = dict(zip(self.init_state(), values, strict=True))
        encoder = self.encoder
        new, frames = self._frontend(features, valid, state)
        line = torch.cat([state["line"][:, encoder.centre :], frames], 1)
        known = state["frames"] + encoder.frontend.output_lengths(valid)
        segment = state["steps"] - self.delay
        exists, emitted = self._existing(segment, known)
        hidden, memory = self._layers(line[:, : exists.size(1)].flatten(0, 1), exists, segment, state.get("memory"))
        new["line"] = line
        if memory is not None:
            new["memory"] = torch.where((emitted > 0)[:, None, None, None, None, None], memory, state["memory"])
        new["frames"], new["steps"] = known, state["steps"] + 1
        return hidden.view(self.batch, encoder.centre, -1), emitted, *new.values()

    def _frontend(self, features: Tensor, valid: Tensor, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Return the new convolution caches and the encoder frames (B, C, D)."""
        frontend, new = self.encoder.frontend, {}
        padding = torch.arange(self.chunk_frames) >= valid[:, None]
        x = features.masked_fill(padding[:, :, None], 0.0)[:, None]
        for i, convolution in enumerate(frontend.convolutions):
            if convolution.cache:
                x = torch.cat([state[f"convolution_{i}"], x], 2)
                new[f"convolution_{i}"] = x[:, :, x.size(2) - convolution.cache :]
            x = convolution(x)
        return new, frontend.projection(x.permute(0, 2, 3, 1).flatten(2))

    def _existing(self, segment: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Return which frames of the block of each stream exist (B, W), and how many of its centre do (B,)."""
        encoder = self.encoder
        start = segment * encoder.centre
        frame = start[:, None] - encoder.left + torch.arange(encoder.left + encoder.centre + encoder.right)
        emitted = torch.where(segment >= 0, (known - start).clamp(0, encoder.centre), torch.zeros_like(known))
        return (frame >= 0) & (frame < known[:, None]), emitted

    def _layers(
        self, x: Tensor, exists: Tensor, segment: Tensor, memory: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Map block rows (B * W, D) to centre rows (B * C, D) and the memory with one more slot."""
        encoder = self.encoder
        attended = exists | ~exists.any(1, keepdim=True)  # a block without frames attends to all its cells: no NaN
        centre = attended[:, encoder.left : encoder.left + encoder.centre]
        seen = newest(segment.clamp(min=0), self.bank_size, x)
        inside = nn.functional.pad(centre, (encoder.left, encoder.right))
        lower, last = mask_index(self.lower, attended, inside), mask_index(self.last, attended, centre)
        return step_layers(encoder, x, (lower, last), seen, memory)


def step_layers(
    encoder: AugmentedMemoryEncoder,
    x: Tensor,
    indices: tuple[LayerIndex, LayerIndex],
    seen: Tensor,
    memory: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """Run all layers over one block of each of B streams.

    Args:
        encoder: the encoder.
        x: (B * W, D) block rows.
        indices: tables of the lower layers and of the last one.
        seen: (B, M) additive mask of the slots of the bank.
        memory: (B, layers, 2, H, M, d) bank; None without memory.

    Returns:
        centre rows (B * C, D), and the bank with one more slot in place of its oldest one.
    """
    lower, last = indices
    bank = x.new_zeros(seen.size(0), *bank_shape(encoder.config, 0)) if memory is None else memory
    slots = []
    for number, layer in enumerate(encoder.layers, 1):
        index = last if number == len(encoder.layers) else lower
        x, slot = layer.step(x, index, bank[:, number - 1].transpose(0, 1), seen)
        slots.append(slot.transpose(0, 1))
    if memory is not None:
        memory = torch.cat([memory[:, :, :, :, 1:], torch.stack(slots, 1)], 4)
    return encoder.norm(x), memory


def check_augmented_memory(encoder: Encoder) -> AugmentedMemoryEncoder:
    """Return the encoder.

    Raises:
        UserError: it is of another type.
    """
    if not isinstance(encoder, AugmentedMemoryEncoder) or encoder.config.type != "augmented_memory":
        raise UserError(f"encoder.type: only augmented_memory has a step of fixed shapes, not {encoder.config.type}")
    return encoder


def mask_index(index: LayerIndex, exists: Tensor, pooled: Tensor) -> LayerIndex:
    """Return the tables of full blocks with some frames masked.

    Args:
        exists: (B, W) bool, block frames that exist.
        pooled: (B, Q) bool, query rows that the summary query averages.
    """
    bias = additive(exists[:, None], index.bias)
    weights = pooled.to(bias.dtype)
    pooling = (weights / weights.sum(1, keepdim=True).clamp(min=1))[:, None]
    rows = exists.numel()
    padded = torch.cat([exists.flatten(), exists.new_zeros(1)])  # row `rows` is the gap between blocks
    spaced = torch.where(padded[index.spaced], index.spaced, torch.full_like(index.spaced, rows))
    return index._replace(bias=bias, pooling=pooling, spaced=spaced)

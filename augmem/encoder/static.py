"""Streaming step with fixed shapes, for export.

`SegmentEncoder.step` takes chunks of any size and decides by their content how many segments to run, which tracers
cannot follow. Here each step takes the features of C encoder frames and runs one block [L|C|R], the one whose right
context has just become complete; frames that do not exist are masked. The layers are those of the encoder.

Letters: B streams, F features, D model width, W = L + C + R frames of a block, M size of the bank. The delay is the
number of steps that a segment waits for its right context, ceil(R / C).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from augmem.encoder.augmented_memory import AugmentedMemoryEncoder
from augmem.encoder.base import Encoder
from augmem.encoder.index import LayerIndex, index_layers
from augmem.encoder.rows import additive
from augmem.encoder.segments import cut_blocks
from augmem.encoder.state import Memory
from augmem.errors import UserError


class StaticStep(nn.Module):
    """Streaming step of `batch` streams; each receives `chunk_frames` feature frames, zero padded at its end.

    A stream ends `delay` steps after its last frames; these steps receive no frames.

    Args:
        encoder: an augmented-memory encoder.
        batch: number of streams B.
        bank_size: size M of the memory bank; required if the encoder's bank is unlimited, otherwise that of the
            encoder. With an unlimited bank, outputs are exact for streams of up to M + 1 segments. Kinds of memory of
            a constant size ignore it.

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
        sizes = [size for size in (bank_size, encoder.memory_kind.bank_size(encoder.config)) if size is not None]
        if not sizes:
            raise UserError("--bank-size: required, because the memory bank of the model is unlimited")
        self.encoder, self.batch, self.bank_size = encoder, batch, min(sizes)
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
        state["memory"] = self._memory().values
        state["frames"] = torch.zeros(self.batch, dtype=torch.int64)
        state["steps"] = torch.zeros(self.batch, dtype=torch.int64)
        return {name: value for name, value in state.items() if value.numel()}

    def _memory(self) -> Memory:
        """Return the empty memory of all streams."""
        encoder = self.encoder
        return encoder.memory_kind.start(encoder.config, self.batch, encoder.norm.weight, self.bank_size)

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
        memory = self._memory()
        memory = replace(memory, values=state.get("memory", memory.values), count=segment.clamp(min=0))
        hidden, written = self._layers(line[:, : exists.size(1)].flatten(0, 1), exists, memory)
        new["line"] = line
        if "memory" in state:
            runs = (emitted > 0).view(-1, *[1] * (written.values.dim() - 1))
            new["memory"] = torch.where(runs, written.values, memory.values)
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

    def _layers(self, x: Tensor, exists: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Map block rows (B * W, D) to centre rows (B * C, D), and return the memory after the block."""
        encoder = self.encoder
        attended = exists | ~exists.any(1, keepdim=True)  # a block without frames attends to all its cells: no NaN
        centre = attended[:, encoder.left : encoder.left + encoder.centre]
        inside = nn.functional.pad(centre, (encoder.left, encoder.right))
        tables = mask_index(self.lower, attended, inside), mask_index(self.last, attended, inside, centre)
        hidden, memory = encoder.run_layers(x, tables, memory)
        return hidden, memory.keep(self.bank_size)


def check_augmented_memory(encoder: Encoder) -> AugmentedMemoryEncoder:
    """Return the encoder.

    Raises:
        UserError: it is of another type, or aligns segments.
    """
    if not isinstance(encoder, AugmentedMemoryEncoder) or encoder.config.type != "augmented_memory":
        raise UserError(f"encoder.type: only augmented_memory has a step of fixed shapes, not {encoder.config.type}")
    if encoder.config.align_segments:
        raise UserError("encoder.align_segments is True; it must be false for a step of fixed shapes; train without it")
    return encoder


def mask_index(index: LayerIndex, exists: Tensor, centre: Tensor, pooled: Tensor | None = None) -> LayerIndex:
    """Return the tables of full blocks with some frames masked.

    Args:
        exists: (B, W) bool, block frames that exist.
        centre: (B, W) bool, those of the centre.
        pooled: (B, Q) bool, those of the centre among the query rows; None: query rows are block rows.
    """
    bias = additive(exists[:, None], index.bias)
    centre, pooling = (_average(rows, bias) for rows in (centre, centre if pooled is None else pooled))
    rows = exists.numel()
    padded = torch.cat([exists.flatten(), exists.new_zeros(1)])  # row `rows` is the gap between blocks
    spaced = torch.where(padded[index.spaced], index.spaced, torch.full_like(index.spaced, rows))
    return index._replace(bias=bias, pooling=pooling, centre=centre, spaced=spaced)


def _average(rows: Tensor, like: Tensor) -> Tensor:
    """Return weights (B, 1, W) that average `rows` (B, W) bool."""
    weights = rows.to(like.dtype)
    return (weights / weights.sum(1, keepdim=True).clamp(min=1))[:, None]

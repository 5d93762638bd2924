"""Augmented-memory transformer: all segments of a layer at once in training, segment by segment in a stream.

Source: Wu, Wang, Shi, Yeh, Zhang, "Streaming Transformer-based Acoustic Models Using Self-attention with Augmented
Memory", Interspeech 2020, arXiv 2005.08042. See `augmem.encoder.segments` for the segments at the ends of utterances.

Letters: B utterances, S blocks, T frames, P packed block rows, K centre rows, D model width, H heads, d head width,
J memory columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from augmem.devices import to_device
from augmem.encoder.base import Encoded, initialise
from augmem.encoder.config import EncoderConfig
from augmem.encoder.index import LayerIndex, index_layers
from augmem.encoder.layer import AugmentedMemoryLayer, recompute_in_backward
from augmem.encoder.memory.slot_index import SlotColumns, SlotIndex, index_slots, remaining_columns
from augmem.encoder.rows import bank_rows, gather, readers_of, unpack
from augmem.encoder.segments import Blocks, Plan, plan_segments
from augmem.encoder.state import Bank
from augmem.encoder.streaming import SegmentEncoder


class Memory(NamedTuple):
    """Memory that B utterances pass to the next utterances of their sessions.

    Args:
        slots: (B, layers, 2, H, J, d) keys and values of the slots of each layer, newest last.
        filled: (B, J) bool, which slots exist.
    """

    slots: Tensor
    filled: Tensor


class Tables(NamedTuple):
    """Index tables of a batch.

    Args:
        plan: its segments.
        lower, last: tables of all layers but the last, and those of the last.
        bank: tables of the memory bank; None without memory.
        remaining: slots that the next utterances read; None if memory ends with the utterance.
        sources: block rows that read each packed frame, see `gather`.
        outputs: output frame of each centre row, and 0 for the row of padding.
    """

    plan: Plan
    lower: LayerIndex
    last: LayerIndex
    bank: SlotIndex | None
    remaining: SlotColumns | None
    sources: Tensor
    outputs: Tensor


class AugmentedMemoryEncoder(SegmentEncoder):
    """Augmented-memory transformer over [L|C|R] segments.

    In a stream, the bank has a constant size if `memory_slots` is set; otherwise it grows by one slot per segment.

    Args:
        config: sizes and options.
        feature_dim: feature bins F.
        frame_shift: seconds between feature frames.

    Example (whole utterances and streaming give the same outputs):
        >>> config = EncoderConfig(dim=32, heads=2, layers=2, feedforward_dim=64)
        >>> encoder = AugmentedMemoryEncoder(config, feature_dim=80, frame_shift=0.01).eval()
        >>> features = torch.randn(1, 500, 80)
        >>> hidden, _ = encoder(features, torch.tensor([500]))
        >>> state, outputs = encoder.init_state(1), []
        >>> for chunk in features.split(encoder.chunk_frames, 1):
        ...     output, state = encoder.step(chunk, state)
        ...     outputs.append(output)
        >>> outputs.append(encoder.step(features[:, :0], state, final=True)[0])
        >>> torch.allclose(torch.cat(outputs, 1), hidden, atol=1e-5)
        True
    """

    def __init__(self, config: EncoderConfig, feature_dim: int, frame_shift: float) -> None:
        super().__init__(config, feature_dim, frame_shift)
        self.layers = nn.ModuleList([AugmentedMemoryLayer(config, rank) for rank in config.ranks])
        initialise(self, config.layers)

    def empty_memory(self, batch: int) -> Memory:
        """Return the memory that the first utterances of `batch` sessions receive."""
        like = self.norm.weight
        filled = torch.zeros(batch, 0, dtype=torch.bool, device=like.device)
        return Memory(like.new_zeros(batch, *bank_shape(self.config, 0)), filled)

    def encode_with_memory(self, features: Tensor, lengths: Tensor, memory: Memory) -> tuple[Encoded, Memory]:
        """Run `encode` for utterances that continue sessions.

        No gradient flows into `memory`, so that training uses a past of any length at the cost of one utterance:
        truncated back-propagation (compare UIO-LLMs, arXiv 2406.18173).

        Args:
            features: (B, T, F).
            lengths: (B,) feature frames.
            memory: memory of the previous utterance of each session.

        Returns:
            the outputs, and the memory for the next utterances.

        Raises:
            ValueError: the configuration drops layers, which would leave gaps in the memory.
        """
        if self.config.layer_drop:
            raise ValueError("encoder.layer_drop must be 0 where memory is passed from utterance to utterance")
        frames, out_lengths = self._frames(features, lengths)
        hidden, taps, memory = self._encode_segments(frames, out_lengths, memory)
        return Encoded(hidden, out_lengths, taps), memory

    def _plan(self, lengths: Tensor) -> Plan:
        return plan_segments(lengths, self.left, self.centre, self.right)

    def build_tables(self, lengths: Tensor, dtype: torch.dtype, older: Tensor | None = None) -> Tables:
        """Build the index tables of a batch, on the CPU.

        Args:
            lengths: (B,) encoder frames.
            dtype: of the hidden vectors.
            older: (B, J0) bool, which slots of earlier utterances exist; None: memory ends with the utterance.
        """
        plan, slots = self._plan(lengths), self.config.memory_slots
        older = None if older is None else older[plan.order]
        like = torch.empty(0, dtype=dtype)
        lower, last = index_layers(plan.blocks, self.config, like)
        bank = index_slots(plan, slots, self.config.heads, like, older)
        remaining = None if older is None else remaining_columns(plan, slots, older)
        source, frame = plan.blocks.source, plan.frame_of_output
        centres = plan.blocks.centre_rows.numel()
        sources = readers_of(source, source >= 0, int(lengths.sum()))
        outputs = readers_of(frame, frame < centres, centres + 1).clamp(max=frame.numel() - 1).squeeze(1)
        return Tables(plan, lower, last, bank, remaining, sources, outputs)

    def _encode(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self._encode_segments(frames, lengths, None)[:2]

    def _encode_segments(
        self, frames: Tensor, lengths: Tensor, memory: Memory | None
    ) -> tuple[Tensor, list[Tensor], Memory]:
        tables = self.build_tables(lengths, frames.dtype, memory.filled.cpu() if memory else None)
        plan, lower, last, bank, remaining, sources, outputs = to_device(tables, frames.device)
        memory = memory or self.empty_memory(lengths.numel())
        x = gather(frames, plan.blocks.source, sources)
        recompute = self.config.recompute_layers and torch.is_grad_enabled()
        taps: list[Tensor] = []
        slots: list[Tensor] = []
        for number, layer in enumerate(self.layers, 1):
            index = last if number == len(self.layers) else lower
            if not self._draw_layer_drop():
                inputs = (x, index, bank, memory.slots[plan.order, number - 1].transpose(0, 1))
                x, written = recompute_in_backward(layer, *inputs) if recompute else layer(*inputs)
                slots.append(written)
            elif index.query_rows is not None:
                x = gather(x, index.query_rows)
            if str(number) in self.tap_norms:
                centre = x if index is last else gather(x, plan.blocks.centre_rows, last.query_row_readers)
                taps.append(unpack(self.tap_norms[str(number)](centre), plan.frame_of_output, outputs))
        kept = self.empty_memory(0) if remaining is None else self._keep(remaining, plan, slots)
        return unpack(self.norm(x), plan.frame_of_output, outputs), taps, kept

    def _keep(self, remaining: SlotColumns, plan: Plan, slots: Sequence[Tensor]) -> Memory:
        """Return the slots of each layer that the next utterances read, detached."""
        _, utterances, heads, columns, width = slots[0].shape
        rows = bank_rows(remaining.slots, max(columns, 1), heads, utterances)
        kept = torch.stack([gather(written.detach().view(-1, width), rows) for written in slots])
        back = torch.argsort(plan.order)
        return Memory(kept.permute(2, 0, 1, 3, 4, 5)[back], remaining.seen[back])

    def _init_recurrent(self, batch: int) -> Bank:
        return empty_bank(self.config, batch, self.norm.weight)

    def _tables(self, blocks: Blocks, like: Tensor) -> tuple[LayerIndex, LayerIndex]:
        return index_layers(blocks, self.config, like)

    def _run_segment(
        self, x: Tensor, blocks: Blocks, tables: tuple[LayerIndex, LayerIndex], state: Bank
    ) -> tuple[Tensor, Bank]:
        lower, last = tables
        mask = state.mask()
        slots: list[Tensor] = []
        for n, layer in enumerate(self.layers):
            index = last if n == len(self.layers) - 1 else lower
            x, slot = layer.step(x, index, state.slots[:, n].transpose(0, 1), mask)
            slots.append(slot.transpose(0, 1))
        return self.norm(x), state.append(torch.stack(slots, 1), self.config.memory_slots)


def bank_shape(config: EncoderConfig, slots: int) -> tuple[int, ...]:
    """Return the shape of the bank of one stream with `slots` slots per layer: (layers, 2, H, slots, d)."""
    return (config.layers, 2, config.heads, slots, config.dim // config.heads)


def empty_bank(config: EncoderConfig, batch: int, like: Tensor) -> Bank:
    """Return the bank of `batch` new streams, with as many columns as `memory_slots` limits it to."""
    slots = like.new_zeros(batch, *bank_shape(config, config.memory_slots or 0))
    return Bank(slots, torch.zeros(batch, dtype=torch.int64, device=like.device))

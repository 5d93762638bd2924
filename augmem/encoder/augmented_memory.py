"""Augmented-memory transformer: all segments of a layer at once in training, segment by segment in a stream.

Source: Wu, Wang, Shi, Yeh, Zhang, "Streaming Transformer-based Acoustic Models Using Self-attention with Augmented
Memory", Interspeech 2020, arXiv 2005.08042. See `augmem.encoder.segments` for the segments at the ends of utterances.

Letters: B utterances, S blocks, T frames, P packed block rows, K centre rows, D model width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from augmem.devices import to_device
from augmem.encoder.alignment import AlignedState, SharedRows, align_rows, align_step, previous_rows, shared_rows
from augmem.encoder.base import Encoded, initialise
from augmem.encoder.config import EncoderConfig
from augmem.encoder.index import LayerIndex, index_layers
from augmem.encoder.layer import AugmentedMemoryLayer, recompute_in_backward
from augmem.encoder.registry import find_memory
from augmem.encoder.rows import gather, readers_of, unpack
from augmem.encoder.segments import Blocks, Plan, plan_segments
from augmem.encoder.state import Memory, RecurrentState
from augmem.encoder.streaming import SegmentEncoder


class Tables(NamedTuple):
    """Index tables of a batch.

    Args:
        plan: its segments.
        lower, last: tables of all layers but the last, and those of the last.
        memory: tables of the memory, see `LayerMemory.index`; None without memory.
        previous: rows to align with, see `previous_rows`; None without alignment.
        sources: block rows that read each packed frame, see `gather`.
        outputs: output frame of each centre row, and 0 for the row of padding.
    """

    plan: Plan
    lower: LayerIndex
    last: LayerIndex
    memory: Any
    previous: Tensor | None
    sources: Tensor
    outputs: Tensor


class AugmentedMemoryEncoder(SegmentEncoder):
    """Augmented-memory transformer over [L|C|R] segments.

    In a stream, a bank of slots has a constant size if `memory_slots` is set; otherwise it grows by one slot per
    segment. Other kinds of memory have a constant size.

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
        self.memory_kind = find_memory(config)
        self.layers = nn.ModuleList([AugmentedMemoryLayer(config, rank) for rank in config.ranks])
        initialise(self, config.layers)

    def empty_memory(self, batch: int) -> Memory:
        """Return the memory that the first utterances of `batch` sessions receive."""
        return self.memory_kind.start(self.config, batch, self.norm.weight, 0)

    def encode_with_memory(self, features: Tensor, lengths: Tensor, memory: Memory) -> tuple[Encoded, Memory]:
        """Run `encode` for utterances that continue sessions.

        Gradients flow into earlier utterances through `memory`, unless `Memory.limit_gradient` ends them: truncated
        back-propagation (compare UIO-LLMs, arXiv 2406.18173).

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
        hidden, taps, kept = self._encode_segments(frames, out_lengths, memory)
        assert kept is not None
        return Encoded(hidden, out_lengths, taps), kept

    def _plan(self, lengths: Tensor) -> Plan:
        return plan_segments(lengths, self.left, self.centre, self.right)

    def build_tables(self, lengths: Tensor, dtype: torch.dtype, memory: Memory | None = None) -> Tables:
        """Build the index tables of a batch, on the CPU.

        Args:
            lengths: (B,) encoder frames.
            dtype: of the hidden vectors.
            memory: memory of earlier utterances; None: memory begins and ends with each utterance.
        """
        plan = self._plan(lengths)
        older = None if memory is None else replace(memory, count=memory.count.cpu()[plan.order])
        like = torch.empty(0, dtype=dtype)
        lower, last = index_layers(plan.blocks, self.config, like)
        tables = self.memory_kind.index(plan, self.config, like, older)
        source, frame = plan.blocks.source, plan.frame_of_output
        centres = plan.blocks.centre_rows.numel()
        sources = readers_of(source, source >= 0, int(lengths.sum()))
        outputs = readers_of(frame, frame < centres, centres + 1).clamp(max=frame.numel() - 1).squeeze(1)
        previous = previous_rows(plan) if self.config.align_segments else None
        return Tables(plan, lower, last, tables, previous, sources, outputs)

    def _encode(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self._encode_segments(frames, lengths, None)[:2]

    def _encode_segments(
        self, frames: Tensor, lengths: Tensor, memory: Memory | None
    ) -> tuple[Tensor, list[Tensor], Memory | None]:
        tables = self.build_tables(lengths, frames.dtype, memory)
        plan, lower, last, memory_tables, previous, sources, outputs = to_device(tables, frames.device)
        older = memory or self.empty_memory(lengths.numel())
        x = gather(frames, plan.blocks.source, sources)
        recompute = self.config.recompute_layers and torch.is_grad_enabled()
        taps: list[Tensor] = []
        written: list[Any] = []
        for number, layer in enumerate(self.layers, 1):
            index = last if number == len(self.layers) else lower
            if not self._draw_layer_drop():
                inputs = (x, index, memory_tables, older.values[plan.order, number - 1])
                x, contents = recompute_in_backward(layer, *inputs) if recompute else layer(*inputs)
                written.append(contents)
                if previous is not None and index is lower:
                    x = align_rows(x, previous)
            elif index.query_rows is not None:
                x = gather(x, index.query_rows)
            if str(number) in self.tap_norms:
                centre = x if index is last else gather(x, plan.blocks.centre_rows, last.query_row_readers)
                taps.append(unpack(self.tap_norms[str(number)](centre), plan.frame_of_output, outputs))
        kept = None if memory is None else self._collect(written, plan, memory_tables, memory)
        return unpack(self.norm(x), plan.frame_of_output, outputs), taps, kept

    def _collect(self, written: list[Tensor], plan: Plan, tables: Any, memory: Memory) -> Memory:
        """Return the memory after each utterance."""
        if tables is None:
            return memory
        kept = self.memory_kind.collect(written, tables, memory.select(plan.order))
        return kept.select(torch.argsort(plan.order))

    def _init_recurrent(self, batch: int) -> RecurrentState:
        like, size = self.norm.weight, self.memory_kind.bank_size(self.config) or 0
        memory = self.memory_kind.start(self.config, batch, like, size)
        if not self.config.align_segments:
            return memory
        rows = like.new_zeros(batch, len(self.layers) - 1, self.left + self.right, self.output_dim)
        return AlignedState(memory, rows, torch.zeros_like(memory.count))

    def _tables(self, blocks: Blocks, like: Tensor) -> tuple[LayerIndex, LayerIndex, SharedRows | None]:
        shared = shared_rows(blocks, self.left, self.right) if self.config.align_segments else None
        return *index_layers(blocks, self.config, like), shared

    def _run_segment(
        self,
        x: Tensor,
        blocks: Blocks,
        tables: tuple[LayerIndex, LayerIndex, SharedRows | None],
        state: Memory | AlignedState,
    ) -> tuple[Tensor, Memory | AlignedState]:
        *layers, shared = tables
        if isinstance(state, Memory):
            return self.run_layers(x, layers, state)
        assert shared is not None
        kept: list[Tensor] = []

        def align_layer(number: int, x: Tensor) -> Tensor:
            x, rows = align_step(x, shared, state.rows[:, number], state.started)
            kept.append(rows)
            return x

        hidden, memory = self.run_layers(x, layers, state.memory, align_layer)
        rows = torch.stack(kept, 1) if kept else state.rows
        return hidden, AlignedState(memory, rows, torch.ones_like(state.started))

    def run_layers(
        self,
        x: Tensor,
        tables: Sequence[LayerIndex],
        memory: Memory,
        align_layer: Callable[[int, Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Memory]:
        """Run all layers over one block of each stream.

        Args:
            x: (P, D) block rows.
            tables: tables of the lower layers and of the last one.
            memory: memory of the streams.
            align_layer: function of the number and the outputs (P, D) of each lower layer, which returns new outputs.

        Returns:
            centre rows (K, D), and the memory after the blocks.
        """
        lower, last = tables
        mask = memory.mask()
        written: list[Tensor] = []
        for n, layer in enumerate(self.layers):
            index = last if n == len(self.layers) - 1 else lower
            x, contents = layer.step(x, index, memory.values[:, n], mask)
            written.append(contents)
            if align_layer is not None and index is lower:
                x = align_layer(n, x)
        return self.norm(x), memory.write(torch.stack(written, 1), self.memory_kind.bank_size(self.config))

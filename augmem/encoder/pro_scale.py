"""PRO-SCALE: a transformer whose frame rate falls with depth.

Source: Aich, Suh, Schulter, Chandraker, "Progressive Token Length Scaling in Transformer Encoders for Efficient
Universal Segmentation", arXiv 2404.14657: the number of tokens is not the same in all layers of an encoder. The paper
begins with the few tokens of the coarsest scale of an image and adds finer ones; a streaming acoustic model receives
the finest frames first, so here the lengths of frames rise with depth. Stages s of layers have frames of rising length,
for example 20, 40 and 80 ms. With P, the mean of the frames of stage s - 1 in a frame of stage s, and U, its repetition
for each of them::

    p_s = P y_(s-1)                          input of stage s
    y_s = layers of stage s (p_s)
    z_s = y_s + U (z_(s+1) - p_(s+1))        back to shorter frames: what P removed is added again; z_last = y_last

The output is z of the encoder frame, which the rest of the system expects: of what shorter frames carry, its mean. All
contexts are constant in seconds. As in Transformer-XL, a block is [C|R], and queries attend to the keys and values of
the last L seconds of earlier centres, L / frame of them.

Letters: B streams, S blocks, P packed block rows, G rows that are averaged, D model width, H heads, d head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from augmem.devices import to_device
from augmem.encoder.attention import Projections
from augmem.encoder.base import initialise
from augmem.encoder.baselines.cached_context import CachedContextLayer, left_cells
from augmem.encoder.config import EncoderConfig
from augmem.encoder.frame_schedule import FrameStage, feature_strides, link_stages, restore, stage_of_layers
from augmem.encoder.frontend import Frontend
from augmem.encoder.memory.slots import SlotMemory
from augmem.encoder.rows import additive, gather, newest, unpack
from augmem.encoder.segments import Blocks, Plan, cut_blocks, plan_segments
from augmem.encoder.state import RecurrentState, StreamState
from augmem.encoder.streaming import SegmentEncoder, SegmentState

Caches = Sequence[tuple[Tensor, Tensor]]  # keys and values (2, S, H, L / frame, d) and their mask, for each layer


@dataclass(frozen=True)
class ProScaleState(RecurrentState):
    """State passed from one segment to the next.

    Args:
        caches: keys and values (B, 2, H, L / frame, d) of the last centre frames, newest last, for each layer.
        segments: (B,) segments processed.
    """

    caches: tuple[Tensor, ...]
    segments: Tensor


class ProScaleEncoder(SegmentEncoder):
    """Transformer with a cached left context and stages of rising frame lengths.

    Args:
        config: sizes and options.
        feature_dim: feature bins F.
        frame_shift: seconds between feature frames.

    Raises:
        UserError: `frame_schedule` does not fit the encoder frame, the layers or the contexts.
    """

    def __init__(self, config: EncoderConfig, feature_dim: int, frame_shift: float) -> None:
        super().__init__(replace(config, memory_slots=0, summary_sees_memory=False), feature_dim, frame_shift)
        self.block_left = 0
        strides = feature_strides(config, frame_shift)
        self.frontend = Frontend(feature_dim, config.frontend_channels, config.subsampling, config.dim, strides[0])
        self.lengths = [stride // strides[0] for stride in strides]  # of frames, in those of the first stage
        self.stages = stage_of_layers(config.layers, len(strides))
        self.layers = nn.ModuleList([CachedContextLayer(self.config, rank) for rank in config.ranks])
        initialise(self, config.layers)

    def init_state(self, batch: int) -> StreamState:
        state = super().init_state(batch)
        assert isinstance(state, SegmentState)
        frames = self.centre + self.right - 1
        return replace(state, history=self.norm.weight.new_zeros(batch, frames, self.frontend.width))

    def _encode(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor]]:
        plan, stages = to_device(self.build_tables(lengths, frames.dtype), frames.device)
        blocks, shape = plan.blocks.centre.rows.size(0), SlotMemory.shape(self.config, 0)
        caches = [(frames.new_zeros(2, blocks, *shape[1:]), frames.new_zeros(blocks, 1, 0))] * len(self.layers)
        outputs, _ = self._run_layers(gather(frames, plan.blocks.source), stages, caches, drop=True)
        centres = {number: gather(x, plan.blocks.centre_rows) for number, x in outputs.items()}
        hidden = unpack(self.norm(centres[len(self.layers)]), plan.frame_of_output)
        taps = sorted(self.config.iterated_loss_layers)
        return hidden, [unpack(self.tap_norms[str(n)](centres[n]), plan.frame_of_output) for n in taps]

    def _run_layers(
        self, x: Tensor, stages: Sequence[FrameStage], caches: Caches, drop: bool = False
    ) -> tuple[dict[int, Tensor], list[Projections]]:
        """Run all layers on block rows `x` (P, vectors * D) of encoder frames.

        Returns:
            rows (P, D) of encoder frames after the last layer and those of `iterated_loss_layers`, by layer, and the
            projected blocks of each layer.
        """
        frames, x = x.size(0), x.view(-1, self.output_dim)
        bank, seen = caches[0][0][:, :, :, :0], caches[0][1][..., :0]  # no memory
        removed: list[tuple[Tensor, Tensor, Tensor]] = []
        outputs, projections = {}, []
        for number, (layer, n, cache) in enumerate(zip(self.layers, self.stages, caches, strict=True), 1):
            if number > 1 and n != self.stages[number - 2]:
                finer, x = x, stages[n].pool(x)
                if self.lengths[n] > self.frontend.vectors:
                    removed.append((finer, x, stages[n].owners))
            if not (drop and self._draw_layer_drop()):
                x, _, own = layer.forward_cached(x, stages[n].layer, bank, seen, *cache)
                projections.append(own)
            if number in (*self.config.iterated_loss_layers, len(self.layers)):
                outputs[number] = restore(x, removed).unflatten(0, (frames, -1)).mean(1)
        return outputs, projections

    def _contexts(self, stage: int) -> list[int]:
        """Return left context, centre and right context in frames of a stage."""
        vectors, length = self.frontend.vectors, self.lengths[stage]
        return [part * vectors // length for part in (self.left, self.centre, self.right)]

    def _scale(self, frames: Tensor, stage: int) -> Tensor:
        """Convert numbers of encoder frames to frames of a stage, the last of which may be incomplete."""
        return -(-frames * self.frontend.vectors).div(self.lengths[stage], rounding_mode="floor")

    def build_tables(self, lengths: Tensor, dtype: torch.dtype) -> tuple[Plan, tuple[FrameStage, ...]]:
        """Build the index tables of a batch, on the CPU: the segments in encoder frames, and the tables of the stages,
        in which blocks attend to the rows of earlier ones."""
        plan = plan_segments(lengths, 0, self.centre, self.right)
        contexts = [self._contexts(stage) for stage in range(len(self.lengths))]
        plans = [
            plan_segments(self._scale(lengths, stage), 0, centre, right)
            for stage, (_, centre, right) in enumerate(contexts)
        ]
        stages = link_stages(
            [staged.blocks for staged in plans], self.lengths, self.config, torch.empty(0, dtype=dtype)
        )
        return plan, tuple(
            stage._replace(layer=stage.layer.prepend_cells(left_cells(staged, left), self.config.heads))
            for stage, staged, (left, _, _) in zip(stages, plans, contexts, strict=True)
        )

    def _tables(self, blocks: Blocks, like: Tensor) -> list[FrameStage]:
        centre, nothing = blocks.centre.counts, torch.zeros_like(blocks.centre.counts)
        right = blocks.all.counts - centre
        cuts = [
            cut_blocks(nothing, nothing, self._scale(centre, stage), self._scale(right, stage))
            for stage in range(len(self.lengths))
        ]
        return link_stages(cuts, self.lengths, self.config, like)

    def _init_recurrent(self, batch: int) -> ProScaleState:
        like, contexts = self.norm.weight, [self._contexts(stage) for stage in self.stages]
        caches = tuple(like.new_zeros(batch, *SlotMemory.shape(self.config, left)) for left, _, _ in contexts)
        return ProScaleState(caches, torch.zeros(batch, dtype=torch.int64, device=like.device))

    def _run_segment(
        self, x: Tensor, blocks: Blocks, tables: list[FrameStage], state: ProScaleState
    ) -> tuple[Tensor, ProScaleState]:
        contexts = [self._contexts(stage) for stage in self.stages]
        seen = [additive(newest(state.segments * centre, left)[:, None], x) for left, centre, _ in contexts]
        caches = [(cache.transpose(0, 1), mask) for cache, mask in zip(state.caches, seen, strict=True)]
        outputs, projections = self._run_layers(x, tables, caches)
        new = []
        for cache, own, (left, centre, _) in zip(state.caches, projections, contexts, strict=True):
            # A centre shorter than C ends its stream, so what the cache holds beyond it is never read.
            line = torch.cat([cache, torch.stack([own.keys, own.values], 1)[:, :, :, :centre]], 3)
            new.append(line[:, :, :, line.size(3) - left :])
        hidden = gather(outputs[len(self.layers)], blocks.centre_rows)
        return self.norm(hidden), ProScaleState(tuple(new), state.segments + 1)

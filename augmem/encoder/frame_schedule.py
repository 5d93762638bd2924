"""Stages of layers whose frames become longer: the option `encoder.frame_schedule`, and means over frames of a block.

Letters: S blocks, P packed block rows, G rows that are averaged, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from augmem.encoder.baselines.time_restricted import distribute
from augmem.encoder.config import EncoderConfig
from augmem.encoder.index import LayerIndex, index_layers
from augmem.encoder.rows import gather
from augmem.encoder.segments import Blocks
from augmem.errors import check_option


class FrameStage(NamedTuple):
    """Tables of the layers with frames of one length.

    Args:
        layer: those of a layer.
        members: (P, G) rows of the stage before that a row averages.
        shares: (P, G) their weights, which sum to 1.
        owners: row that averages each row of the stage before.
    """

    layer: LayerIndex
    members: Tensor
    shares: Tensor
    owners: Tensor

    def pool(self, x: Tensor) -> Tensor:
        """Return the means of the rows of the stage before."""
        return (gather(x, self.members) * self.shares[..., None]).sum(1)


def link_stages(
    blocks: Sequence[Blocks], lengths: Sequence[int], config: EncoderConfig, like: Tensor
) -> list[FrameStage]:
    """Build the tables of stages from the same blocks in the frames of each.

    Args:
        blocks: those of each stage, in its frames.
        lengths: of the frames of each stage, in those of the first.
        config: heads and kernel width.
        like: tensor with the dtype of the hidden vectors.
    """
    return [
        FrameStage(index_layers(own, config, like)[0], *_pool_tables(finer, own, length // shorter, like))
        for finer, own, shorter, length in zip(
            [blocks[0], *blocks], blocks, [lengths[0], *lengths], lengths, strict=False
        )
    ]


def restore(x: Tensor, removed: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Return rows `x` of the last stage as rows of the first one in `removed`.

    Args:
        removed: for each change of the frame length: rows before it, rows after it, and the owner of each row.
    """
    for finer, pooled, owners in reversed(removed):
        x = finer + gather(x - pooled, owners)
    return x


def _pool_tables(finer: Blocks, coarser: Blocks, group: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return members, shares and owners, see `FrameStage`, of blocks whose frames are `group` times as long."""
    width = coarser.all.rows.size(1)
    padding = width * group - finer.all.rows.size(1)
    rows, filled = (F.pad(part, (0, padding)).view(-1, width, group) for part in (finer.all.rows, finer.all.filled))
    members, present = rows[coarser.all.filled], filled[coarser.all.filled].to(like.dtype)
    block, column = finer.all.coordinates()
    owners = coarser.all.rows[block, column.div(group, rounding_mode="floor")]
    return members, present / present.sum(1, keepdim=True), owners


def stage_of_layers(layers: int, stages: int) -> list[int]:
    """Return the stage of each layer; the layers are divided evenly among stages."""
    return [stage for stage, count in enumerate(distribute(layers, stages)) for _ in range(count)]


def feature_strides(config: EncoderConfig, frame_shift: float) -> list[int]:
    """Convert `frame_schedule` to feature frames.

    Raises:
        UserError: it does not fit the encoder frame, the layers or the contexts.
    """
    frame, schedule = config.subsampling, config.frame_schedule
    strides = [round(seconds / frame_shift) for seconds in schedule]
    whole = bool(strides) and all(
        abs(n * frame_shift - seconds) < 1e-6 and n > 0 for n, seconds in zip(strides, schedule, strict=True)
    )
    rising = whole and all(long % short == 0 and long > short for short, long in pairwise(strides))
    nested = rising and frame % strides[0] == 0 and all(frame % n == 0 or n % frame == 0 for n in strides)
    rule = f"rise from a divisor of the encoder frame of {frame * frame_shift:g} s, each a multiple of the one before"
    check_option("encoder.frame_schedule", schedule, nested, rule)
    check_option("encoder.frame_schedule", schedule, len(strides) <= config.layers, "have at most one value per layer")
    for field in ("left_context", "centre", "right_context"):
        frames = config.frames(field, frame_shift) * frame
        longest = f"be a multiple of the longest frame of encoder.frame_schedule, {schedule[-1]:g} s"
        check_option(f"encoder.{field}", getattr(config, field), frames % strides[-1] == 0, longest)
    return strides

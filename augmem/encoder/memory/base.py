"""Interface of the kinds of memory.

Letters: B utterances by rank or streams, S blocks, P packed block rows, R query rows, W cells of a block, J memory
columns, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from augmem.encoder.config import EncoderConfig
from augmem.encoder.index import LayerIndex
from augmem.encoder.segments import Plan
from augmem.encoder.state import Memory

if TYPE_CHECKING:
    from augmem.encoder.attention import AugmentedMemoryAttention, Projections


class LayerMemory(nn.Module):
    """Memory of one layer. Subclasses are the kinds of memory.

    Args:
        config: options of the encoder.

    Attributes:
        state: type of the memory of all layers.
        stable: whether the memory of a stream of any length is bounded, in size and norm, so that it needs no reset.
    """

    state: ClassVar[type[Memory]] = Memory
    stable: ClassVar[bool] = True

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()

    @classmethod
    def bank_size(cls, config: EncoderConfig) -> int | None:
        """Return the number of slots of the memory of a stream, 0 without slots; None: one more with each segment."""
        raise NotImplementedError

    @classmethod
    def shape(cls, config: EncoderConfig, slots: int) -> tuple[int, ...]:
        """Return the shape of the memory of one layer and stream.

        Args:
            config: options of the encoder.
            slots: slots of a memory bank; kinds of a constant shape ignore it.
        """
        raise NotImplementedError

    @classmethod
    def start(cls, config: EncoderConfig, batch: int, like: Tensor, slots: int) -> Memory:
        """Return the empty memory of `batch` streams, see `shape`, with dtype and device of `like`."""
        values = like.new_zeros(batch, config.layers, *cls.shape(config, slots))
        return cls.state(values, torch.zeros(batch, dtype=torch.int64, device=like.device))

    @classmethod
    def count_columns(cls, plan: Plan, config: EncoderConfig) -> Tensor:
        """Return how many memory columns each block attends to (S,); they are the last ones in front of the block."""
        raise NotImplementedError

    @classmethod
    def index(cls, plan: Plan, config: EncoderConfig, like: Tensor, older: Memory | None) -> Any:
        """Build the tables that `forward` and `collect` need, once for all layers, on the CPU; None without memory.

        Args:
            plan: segments of the batch.
            config: options of the encoder.
            like: tensor with the dtype of the hidden vectors.
            older: memory of earlier utterances by rank, of which the `count` is on the CPU. None: memory begins and
                ends with each utterance.
        """
        raise NotImplementedError

    @classmethod
    def collect(cls, written: Sequence[Tensor], tables: Any, older: Memory) -> Memory:
        """Return the memory at the end of each utterance by rank, from what `forward` returned in each layer."""
        raise NotImplementedError

    def forward(
        self,
        attention: AugmentedMemoryAttention,
        block: Projections,
        queries: Tensor,
        index: LayerIndex,
        tables: Any,
        older: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Compute all segments of a batch: the parallel form.

        Args:
            attention: attention of the layer.
            block: projected blocks.
            queries: (R, D) query rows before their projection.
            index: tables of the layer.
            tables: tables of the memory.
            older: (B, ...) memory of earlier utterances by rank.

        Returns:
            outputs (R, D), and what the segments have written, for `collect`.
        """
        raise NotImplementedError

    def step(
        self,
        attention: AugmentedMemoryAttention,
        block: Projections,
        queries: Tensor,
        index: LayerIndex,
        memory: Tensor,
        mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Compute one segment of each of S streams: the streaming form.

        Args:
            memory: (S, ...) memory before the segments.
            mask: (S, 1, J) its mask, `Memory.mask`.

        Returns:
            outputs (R, D), and what the segments write (S, ...), see `Memory.write`.
        """
        raise NotImplementedError

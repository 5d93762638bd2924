"""Memory carried from each utterance of a session to the next (see `augmem.corpus.sessions`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from augmem.encoder import AugmentedMemoryEncoder, Memory
from augmem.errors import UserError
from augmem.model import AcousticModel
from augmem.training.config import TrainingConfig


class SessionMemory:
    """Memory of the sessions in progress, one row per lane.

    A lane is a sequence of sessions: the n-th batch has its n-th utterance.

    Args:
        empty: memory with zero lanes; rows are added on demand.
        gradient_slots: newest slots through which gradients flow.
    """

    def __init__(self, empty: Memory, gradient_slots: int = 0) -> None:
        self.memory, self.gradient_slots = empty, gradient_slots

    def get(self, lanes: Tensor, begins: Tensor) -> Memory:
        """Return the memory that each utterance of a batch starts with.

        Args:
            lanes: (B,) lane of each utterance.
            begins: (B,) whether a session begins with the utterance; its memory is then empty.
        """
        self._grow(int(lanes.max()) + 1)
        return self.memory.select(lanes).clear(begins)

    def set(self, lanes: Tensor, memory: Memory) -> None:
        """Store the memory at the end of each utterance of a batch; rows with non-finite values become empty.

        Args:
            lanes: (B,) lane of each utterance.
            memory: memory of B rows.
        """
        memory = memory.limit_gradient(self.gradient_slots)
        finite = memory.values.flatten(1).isfinite().all(1)
        parts = [self.memory, memory.clear(~finite)]
        self.memory = self.memory.combine(parts, lambda both: both[0].index_copy(0, lanes, both[1]))

    def detach(self) -> None:
        """Make the whole memory a constant, at the end of a step."""
        self.memory = self.memory.limit_gradient(0)

    def load(self, tensors: Sequence[Tensor]) -> None:
        """Restore the memory from its tensors. Checkpoints of earlier releases list the filled columns of each lane."""
        values, count = tensors
        self.memory = replace(self.memory, values=values, count=count if count.dim() == 1 else count.sum(1))

    def _grow(self, lanes: int) -> None:
        """Add empty lanes up to this number."""
        missing = max(lanes - self.memory.batch_size, 0)
        self.memory = self.memory.map(lambda tensor: torch.cat([tensor, tensor.new_zeros(missing, *tensor.shape[1:])]))


def make_session_memory(model: AcousticModel, config: TrainingConfig) -> SessionMemory | None:
    """Return an empty session memory; None if `batches.session_cuts` is 1.

    Raises:
        UserError: the encoder has no memory, or a step accumulates several batches.
    """
    if config.batches.session_cuts == 1:
        return None
    encoder = model.encoder
    accumulates = config.accumulate > 1 and not config.memory_gradient_slots
    if type(encoder) is not AugmentedMemoryEncoder or encoder.config.layer_drop or accumulates:
        raise UserError(
            f"training.batches.session_cuts is {config.batches.session_cuts}: sessions need encoder.type "
            "augmented_memory, encoder.layer_drop 0, and training.accumulate 1 or training.memory_gradient_slots"
        )
    return SessionMemory(encoder.empty_memory(0), config.memory_gradient_slots)

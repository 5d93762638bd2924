"""Memory banks carried from each utterance of a session to the next (see `augmem.corpus.sessions`)."""

from __future__ import annotations

from torch import Tensor

from augmem.encoder import AugmentedMemoryEncoder, Memory
from augmem.errors import UserError
from augmem.model import AcousticModel
from augmem.training.config import TrainingConfig


class SessionMemory:
    """Memory banks of the sessions in progress, one row per lane.

    A lane is a sequence of sessions: the n-th batch has its n-th utterance.

    Args:
        empty: memory with zero lanes; rows are added on demand.
    """

    def __init__(self, empty: Memory) -> None:
        self.memory = empty

    def get(self, lanes: Tensor, begins: Tensor) -> Memory:
        """Return the memory that each utterance of a batch starts with.

        Args:
            lanes: (B,) lane of each utterance.
            begins: (B,) whether a session begins with the utterance; its memory is then empty.
        """
        self._grow(int(lanes.max()) + 1, self.memory.filled.size(1))
        filled = self.memory.filled[lanes] & ~begins[:, None]
        kept = int(filled.sum(1).max()) if filled.numel() else 0
        width = filled.size(1)
        return Memory(self.memory.slots[lanes][..., width - kept :, :], filled[:, width - kept :])

    def set(self, lanes: Tensor, memory: Memory) -> None:
        """Store the memory at the end of each utterance of a batch; rows with non-finite values become empty.

        Args:
            lanes: (B,) lane of each utterance.
            memory: memory banks of B rows; the latest slots are at the right.
        """
        finite = memory.slots.flatten(1).isfinite().all(1)
        columns = memory.filled.size(1)
        self._grow(0, columns)
        unused = self.memory.filled.size(1) - columns
        self.memory.slots[lanes, :, :, :, unused:] = memory.slots.masked_fill(~finite.view(-1, 1, 1, 1, 1, 1), 0)
        self.memory.filled[lanes, :unused] = False
        self.memory.filled[lanes, unused:] = memory.filled & finite[:, None]

    def _grow(self, lanes: int, columns: int) -> None:
        """Add empty lanes and columns up to these numbers. Slots are aligned to the right."""
        slots, filled = self.memory
        size = max(lanes, filled.size(0)), max(columns, filled.size(1))
        if size != filled.shape:
            first = size[1] - filled.size(1)
            grown = slots.new_zeros(size[0], *slots.shape[1:4], size[1], slots.size(5)), filled.new_zeros(size)
            grown[0][: len(slots), ..., first:, :], grown[1][: len(filled), first:] = slots, filled
            self.memory = Memory(*grown)


def make_session_memory(model: AcousticModel, config: TrainingConfig) -> SessionMemory | None:
    """Return an empty session memory; None if `batches.session_cuts` is 1.

    Raises:
        UserError: the encoder has no memory, or a step accumulates several batches.
    """
    if config.batches.session_cuts == 1:
        return None
    encoder = model.encoder
    if type(encoder) is not AugmentedMemoryEncoder or encoder.config.layer_drop or config.accumulate > 1:
        raise UserError(
            f"training.batches.session_cuts is {config.batches.session_cuts}: sessions need encoder.type "
            f"augmented_memory, encoder.layer_drop 0 and training.accumulate 1"
        )
    return SessionMemory(encoder.empty_memory(0))

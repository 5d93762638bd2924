"""Memory on its way from utterance to utterance, lane by lane (see `augmem.corpus.sessions`)."""

from __future__ import annotations

from torch import Tensor

from augmem.encoder import AugmentedMemoryEncoder, Memory
from augmem.model import AcousticModel
from augmem.training.config import TrainingConfig


class LaneMemory:
    """What the last utterance of each lane has left behind."""

    def __init__(self, empty: Memory) -> None:
        """Begin with `empty`, the memory of no lane at all."""
        self.memory = empty

    def take(self, lanes: Tensor, begins: Tensor) -> Memory:
        """What the utterances now in `lanes` (B,) remember: nothing where a session begins (B,)."""
        self._make_room(int(lanes.max()) + 1, self.memory.filled.size(1))
        filled = self.memory.filled[lanes] & ~begins[:, None]
        kept = int(filled.sum(1).max()) if filled.numel() else 0
        width = filled.size(1)
        return Memory(self.memory.slots[lanes][..., width - kept :, :], filled[:, width - kept :])

    def put(self, lanes: Tensor, memory: Memory) -> None:
        """Keep what those utterances leave behind; what is not finite is forgotten."""
        sound = memory.slots.flatten(1).isfinite().all(1)
        columns = memory.filled.size(1)
        self._make_room(0, columns)
        unused = self.memory.filled.size(1) - columns
        self.memory.slots[lanes, :, :, :, unused:] = memory.slots.masked_fill(~sound.view(-1, 1, 1, 1, 1, 1), 0)
        self.memory.filled[lanes, :unused] = False
        self.memory.filled[lanes, unused:] = memory.filled & sound[:, None]

    def _make_room(self, lanes: int, columns: int) -> None:
        """For so many lanes and columns, empty ones where there were fewer."""
        slots, filled = self.memory
        size = max(lanes, filled.size(0)), max(columns, filled.size(1))
        if size != filled.shape:
            first = size[1] - filled.size(1)
            room = slots.new_zeros(size[0], *slots.shape[1:4], size[1], slots.size(5)), filled.new_zeros(size)
            room[0][: len(slots), ..., first:, :], room[1][: len(filled), first:] = slots, filled
            self.memory = Memory(*room)


def lane_memory(model: AcousticModel, config: TrainingConfig) -> LaneMemory | None:
    """The memory that goes from update to update, if the batches are sessions.

    Raises:
        ValueError: the encoder has no memory to hand on, or an update takes in several batches.
    """
    if config.batches.session_cuts == 1:
        return None
    encoder = model.encoder
    if type(encoder) is not AugmentedMemoryEncoder or encoder.config.layer_drop or config.accumulate > 1:
        raise ValueError(
            f"training.batches.session_cuts is {config.batches.session_cuts}: sessions need encoder.type "
            f"augmented_memory, encoder.layer_drop 0 and training.accumulate 1"
        )
    return LaneMemory(encoder.no_memory(0))

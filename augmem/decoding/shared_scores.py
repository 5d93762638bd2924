"""Acoustic scores in shared memory, from the process that computes them to those that search."""

from __future__ import annotations

from multiprocessing.shared_memory import SharedMemory
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class SharedScores(NamedTuple):
    """Place of the scores of a batch; picklable.

    Args:
        name: name of the block of shared memory.
        shape: (B, T, V) of the float32 log-probabilities in it.
        lengths: B numbers of frames.
    """

    name: str
    shape: tuple[int, ...]
    lengths: tuple[int, ...]

    def read(self) -> tuple[Tensor, Tensor]:
        """Return a copy of the log-probabilities (B, T, V), and the lengths (B,)."""
        block = SharedMemory(self.name)
        try:
            log_probs = torch.from_numpy(np.ndarray(self.shape, np.float32, block.buf).copy())
        finally:
            block.close()
        return log_probs, torch.tensor(self.lengths)


def share_scores(log_probs: Tensor, lengths: Tensor) -> tuple[SharedMemory, SharedScores]:
    """Write scores into a new block of shared memory.

    Args:
        log_probs: (B, T, V), on any device.
        lengths: (B,) frames.

    Returns:
        the block, which the caller releases by `release`, and what a reader needs.
    """
    block = SharedMemory(create=True, size=max(1, 4 * log_probs.numel()))
    torch.from_numpy(np.ndarray(log_probs.shape, np.float32, block.buf)).copy_(log_probs)
    return block, SharedScores(block.name, tuple(log_probs.shape), tuple(lengths.tolist()))


def release(block: SharedMemory) -> None:
    """Free a block of shared memory."""
    block.close()
    block.unlink()

"""The choice of one channel: a number from 1, or a letter as in Kaldi and NIST files."""

from __future__ import annotations

import string

import numpy as np
from numpy.typing import NDArray

from augmem.errors import UserError


def channel_index(name: str) -> int:
    """Convert a channel, given by letter or number, to its index.

    Args:
        name: a number from 1, or A (first), B and so on.

    Raises:
        UserError: another word.

    Example:
        >>> channel_index("B"), channel_index("1")
        (1, 0)
    """
    if name.isascii() and name.isdigit() and int(name) > 0:
        return int(name) - 1
    if len(name) == 1 and name.upper() in string.ascii_uppercase:
        return string.ascii_uppercase.index(name.upper())
    raise UserError(f"channel {name!r}: must be a number from 1, or A for the first and B for the second channel")


def choose_channel(samples: NDArray[np.float32], channel: int | None) -> NDArray[np.float32]:
    """Return one channel of samples (n, channels), or their mean for None."""
    return samples[:, channel] if channel is not None else samples.mean(axis=1)

"""Resampling in packets, equal to resampling of the whole recording.

Windowed-sinc interpolation (J. O. Smith, "Digital Audio Resampling", 2002). Let a and b be the two sampling rates,
divided by their greatest common divisor: output n lies at input n a / b and is the product of the inputs around it with
filter n mod b. Filter length and roll-off are Lhotse's defaults.

Letters: n samples.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from augmem.errors import UserError

Samples = NDArray[np.float32]

_ZERO_CROSSINGS = 6  # of the sinc function on either side
_ROLL_OFF = 0.99  # of the lower Nyquist frequency
_PIECE = 1 << 16  # input samples at a time, which bounds the memory for long packets


class Resampler:
    """Converts the sampling rate of one stream.

    Args:
        source: sampling rate of the input, Hz.
        target: sampling rate of the output, Hz.

    Example:
        >>> resampler = Resampler(8000, 16000)
        >>> packets = [resampler(np.zeros(1000, np.float32)), resampler.finish()]
        >>> sum(map(len, packets))
        2000
    """

    def __init__(self, source: int, target: int) -> None:
        if source < 1 or target < 1:
            raise UserError(f"sampling rates of {source} and {target} Hz: must be at least 1")
        divisor = math.gcd(source, target)
        self.block, self.outputs = source // divisor, target // divisor
        self.taps, self.width = sinc_filters(self.block, self.outputs)
        self.pending: Samples = np.zeros(self.width, dtype=np.float32)  # silence before the first sample
        self.num_dropped = self.num_outputs = 0  # samples before `pending`, outputs so far

    def __call__(self, samples: Samples) -> Samples:
        """Return the outputs that `samples` (n,) complete."""
        if self.block == self.outputs:
            return samples
        pieces = np.split(samples, range(_PIECE, len(samples), _PIECE))
        return np.concatenate([self._filter(piece) for piece in pieces])

    def finish(self) -> Samples:
        """Return the remaining outputs at the end of the stream."""
        if self.block == self.outputs:
            return np.zeros(0, dtype=np.float32)
        return self._filter(np.zeros(self.width, dtype=np.float32))

    def _filter(self, samples: Samples) -> Samples:
        self.pending = np.concatenate([self.pending, samples])
        size = self.taps.shape[1]
        complete = self.num_dropped + len(self.pending) - size + 1  # inputs at which a whole window begins
        numbers = np.arange(self.num_outputs, -(-complete * self.outputs // self.block))
        if len(numbers) == 0:
            return np.zeros(0, dtype=np.float32)
        begins = numbers * self.block // self.outputs - self.num_dropped
        windows = np.lib.stride_tricks.sliding_window_view(self.pending, size)[begins]
        # In double precision, so that the sums do not depend on how many are computed at once.
        sums = np.einsum("nt,nt->n", windows.astype(np.float64), self.taps[numbers % self.outputs])
        self.num_outputs += len(numbers)
        self._drop(self.num_outputs * self.block // self.outputs - self.num_dropped)
        resampled: Samples = sums.astype(np.float32)
        return resampled

    def _drop(self, count: int) -> None:
        self.pending, self.num_dropped = self.pending[count:], self.num_dropped + count


def sinc_filters(block: int, outputs: int) -> tuple[NDArray[np.float64], int]:
    """Return one filter for each output of a block.

    Args:
        block: inputs of a block.
        outputs: outputs of a block.

    Returns:
        filters (outputs, 2 * width + 1), and `width`, the number of inputs on either side.
    """
    cutoff = min(block, outputs) * _ROLL_OFF
    width = math.ceil(_ZERO_CROSSINGS * block / cutoff)
    number = np.arange(outputs)[:, None]
    place = (number * block // outputs + np.arange(-width, width + 1)) / block - number / outputs
    angle = np.clip(place * cutoff, -_ZERO_CROSSINGS, _ZERO_CROSSINGS)
    window = np.cos(angle * math.pi / _ZERO_CROSSINGS / 2) ** 2
    return np.sinc(angle) * window * cutoff / block, width

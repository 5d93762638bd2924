"""Resampling in packets of any size: the same samples as over the whole recording, which is how training resampled.

Windowed-sinc interpolation (J. O. Smith, "Digital Audio Resampling"): between sampling rates a and b, divided by
their greatest common divisor, output n lies at input n a / b and is the product of the input around it with one of b
filters, number n modulo b. Filter length and roll-off are those of Lhotse's default, and a test holds the two equal.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

_ZERO_CROSSINGS = 6  # of the sinc function on either side
_ROLL_OFF = 0.99  # of the lower Nyquist frequency
_PIECE = 1 << 16  # input samples at a time, so that a whole recording takes no more memory than a packet


class Resampler:
    """Turns one stream's samples of rate `source` into samples of rate `target`, both in Hz."""

    def __init__(self, source: int, target: int) -> None:
        if source < 1 or target < 1:
            raise ValueError(f"sampling rates of {source} and {target} Hz: must be at least 1")
        divisor = math.gcd(source, target)
        self.block, self.outputs = source // divisor, target // divisor
        self.taps, self.width = sinc_filters(self.block, self.outputs)
        self.pending: Samples = np.zeros(self.width, dtype=np.float32)  # silence before the first sample
        self.dropped = self.given = 0  # samples before `pending`, outputs so far

    def __call__(self, samples: Samples) -> Samples:
        """Whatever can be said after these samples (n,), float32."""
        if self.block == self.outputs:
            return samples
        pieces = np.split(samples, range(_PIECE, len(samples), _PIECE))
        return np.concatenate([self._filter(piece) for piece in pieces])

    def finish(self) -> Samples:
        """The rest, at the end of the stream."""
        if self.block == self.outputs:
            return np.zeros(0, dtype=np.float32)
        return self._filter(np.zeros(self.width, dtype=np.float32))

    def _filter(self, samples: Samples) -> Samples:
        self.pending = np.concatenate([self.pending, samples])
        size = self.taps.shape[1]
        begins = self.dropped + len(self.pending) - size + 1  # inputs at which a whole window begins
        numbers = np.arange(self.given, -(-begins * self.outputs // self.block))
        if len(numbers) == 0:
            return np.zeros(0, dtype=np.float32)
        places = numbers * self.block // self.outputs - self.dropped
        windows = np.lib.stride_tricks.sliding_window_view(self.pending, size)[places]
        # In double precision, so that the sums do not depend on how many are made at once.
        sums = np.einsum("nt,nt->n", windows.astype(np.float64), self.taps[numbers % self.outputs])
        resampled: Samples = sums.astype(np.float32)
        self.given += len(numbers)
        used = self.given * self.block // self.outputs - self.dropped
        self.pending, self.dropped = self.pending[used:], self.dropped + used
        return resampled


def sinc_filters(block: int, outputs: int) -> tuple[NDArray[np.float64], int]:
    """Filters (outputs, 2 * width + 1) for each place in a block; `width` input samples on either side are heard."""
    cutoff = min(block, outputs) * _ROLL_OFF
    width = math.ceil(_ZERO_CROSSINGS * block / cutoff)
    number = np.arange(outputs)[:, None]
    place = (number * block // outputs + np.arange(-width, width + 1)) / block - number / outputs
    angle = np.clip(place * cutoff, -_ZERO_CROSSINGS, _ZERO_CROSSINGS)
    window = np.cos(angle * math.pi / _ZERO_CROSSINGS / 2) ** 2
    return np.sinc(angle) * window * cutoff / block, width

"""Resampling in packets of any size: the same samples as over the whole recording, which is how training resampled.

Windowed-sinc interpolation (J. O. Smith, "Digital Audio Resampling"): between sampling rates a and b, divided by
their greatest common divisor, every block of a input samples gives b output samples, each the product of the b-th
filter with the input around it. Filter length and roll-off are those of Lhotse's default, and a test holds the two
equal.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

_ZERO_CROSSINGS = 6  # of the sinc function on either side
_ROLL_OFF = 0.99  # of the lower Nyquist frequency


class Resampler:
    """Turns one stream's samples of rate `source` into samples of rate `target`, both in Hz."""

    def __init__(self, source: int, target: int) -> None:
        if source < 1 or target < 1:
            raise ValueError(f"sampling rates of {source} and {target} Hz: must be at least 1")
        divisor = math.gcd(source, target)
        self.block, self.outputs = source // divisor, target // divisor
        self.taps, self.width = sinc_filters(self.block, self.outputs)
        self.pending: Samples = np.zeros(self.width, dtype=np.float32)  # silence before the first sample
        self.received = self.given = 0

    def __call__(self, samples: Samples) -> Samples:
        """Whatever can be said after these samples (n,), float32."""
        if self.block == self.outputs:
            return samples
        self.received += len(samples)
        return self._filter(samples)

    def finish(self) -> Samples:
        """The rest, at the end of the stream."""
        if self.block == self.outputs:
            return np.zeros(0, dtype=np.float32)
        wanted = -(-self.received * self.outputs // self.block) - self.given
        silence = np.zeros(self.width + self.block, dtype=np.float32)
        return self._filter(silence)[:wanted]

    def _filter(self, samples: Samples) -> Samples:
        self.pending = np.concatenate([self.pending, samples])
        blocks = max(0, (len(self.pending) - self.taps.shape[1]) // self.block + 1)
        if blocks == 0:
            return np.zeros(0, dtype=np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(self.pending, self.taps.shape[1])[:: self.block][:blocks]
        # In double precision, so that the sums do not depend on how many are made at once.
        resampled = (windows @ self.taps.T).ravel().astype(np.float32)
        self.pending = self.pending[blocks * self.block :]
        self.given += len(resampled)
        return resampled


def sinc_filters(block: int, outputs: int) -> tuple[NDArray[np.float64], int]:
    """Filters (outputs, 2 * width + block) for each place in a block, and the input samples they need before it."""
    cutoff = min(block, outputs) * _ROLL_OFF
    width = math.ceil(_ZERO_CROSSINGS * block / cutoff)
    place = np.arange(-width, width + block) / block - np.arange(outputs)[:, None] / outputs
    angle = np.clip(place * cutoff, -_ZERO_CROSSINGS, _ZERO_CROSSINGS)
    window = np.cos(angle * math.pi / _ZERO_CROSSINGS / 2) ** 2
    return np.sinc(angle) * window * cutoff / block, width

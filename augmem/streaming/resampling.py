"""Resampling in packets, equal to resampling of the whole recording.

Windowed-sinc interpolation (J. O. Smith, "Digital Audio Resampling", 2002). Let a and b be the two sampling rates,
divided by their greatest common divisor: output n lies at input n a / b. It is the product of the inputs around it with
a filter that depends on the phase (n a mod b) / b, the position of the output between two inputs. Filter length and
roll-off are Lhotse's defaults. Rates with few common divisors have up to 16,000 phases: above 1,024 the filters of the
neighbouring phases of a table are interpolated, as in the paper; the error is below -110 dB.

Letters: n samples.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from augmem.audio import SAMPLE_RATES
from augmem.errors import UserError

Samples = NDArray[np.float32]


_ZERO_CROSSINGS = 6  # of the sinc function on either side
_ROLL_OFF = 0.99  # of the lower Nyquist frequency
_MAX_PHASES = 1024  # of a table of filters
_PIECE = 1 << 16  # input samples at a time, which bounds the memory for long packets


class Resampler:
    """Converts the sampling rate of one stream.

    Args:
        source: sampling rate of the input, Hz.
        target: sampling rate of the output, Hz.

    Raises:
        UserError: a rate is not from 4,000 to 192,000 Hz.

    Example:
        >>> resampler = Resampler(8000, 16000)
        >>> packets = [resampler(np.zeros(1000, np.float32)), resampler.finish()]
        >>> sum(map(len, packets))
        2000
    """

    def __init__(self, source: int, target: int) -> None:
        for rate in (source, target):
            if rate not in SAMPLE_RATES:
                raise UserError(
                    f"sampling rate of {rate} Hz: must be a whole number from {SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]}"
                )
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
        sums = self._weigh(windows.astype(np.float64), numbers * self.block % self.outputs)
        self.num_outputs += len(numbers)
        self._drop(self.num_outputs * self.block // self.outputs - self.num_dropped)
        resampled: Samples = sums.astype(np.float32)
        return resampled

    def _weigh(self, windows: NDArray[np.float64], phases: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the products of inputs and filters, in double precision: they do not depend on the packet size.

        Args:
            windows: (N, K) inputs around each output.
            phases: (N,) phase of each output, multiplied by the number of outputs of a block.
        """
        steps = len(self.taps) - 1
        places, rests = np.divmod(phases * steps, self.outputs)
        sums: NDArray[np.float64] = np.einsum("nt,nt->n", windows, self.taps[places])
        if steps < self.outputs:
            following = np.einsum("nt,nt->n", windows, self.taps[places + 1])
            sums += rests / self.outputs * (following - sums)
        return sums

    def _drop(self, count: int) -> None:
        self.pending, self.num_dropped = self.pending[count:], self.num_dropped + count


@lru_cache(maxsize=16)  # shared by streams; a table takes at most 5 MB
def sinc_filters(block: int, outputs: int) -> tuple[NDArray[np.float64], int]:
    """Return a table of filters for phases from 0 to 1.

    Args:
        block: inputs of a block.
        outputs: outputs of a block.

    Returns:
        filters (min(outputs, 1024) + 1, 2 * width + 1), and `width`, the number of inputs on either side.
    """
    cutoff = min(block, outputs) * _ROLL_OFF
    width = math.ceil(_ZERO_CROSSINGS * block / cutoff)
    steps = min(outputs, _MAX_PHASES)
    place = (np.arange(-width, width + 1) - np.arange(steps + 1)[:, None] / steps) / block
    angle = np.clip(place * cutoff, -_ZERO_CROSSINGS, _ZERO_CROSSINGS)
    window = np.cos(angle * math.pi / _ZERO_CROSSINGS / 2) ** 2
    return np.sinc(angle) * window * cutoff / block, width

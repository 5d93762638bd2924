"""Features of a stream: the same as over the whole recording, whatever its packets and its sampling rate."""

from __future__ import annotations

from typing import Any

import kaldi_native_fbank as knf
import numpy as np
from numpy.typing import NDArray

from augmem.errors import UserError
from augmem.features import FeatureConfig
from augmem.streaming.resampling import Resampler, Samples

_INT16 = 32768.0
_LOUDEST = 100.0  # 40 dB above full scale: no sound, but whole numbers written as floats


class OnlineFeatures:
    """Log-mel features of one stream.

    The last frames appear at `finish`: with `snip_edges` off a window may reach beyond the end.
    """

    def __init__(self, config: FeatureConfig) -> None:
        self.config = config
        self.fbank = knf.OnlineFbank(fbank_options(config))
        self.resampler: Resampler | None = None
        self.rate = 0
        self.read = 0

    def accept(self, samples: NDArray[np.int16] | Samples, rate: int) -> None:
        """Take a packet (n,): int16, or floats in [-1, 1].

        Raises:
            UserError: not one channel of such samples, not finite, or another rate than before.
        """
        packet = as_floats(samples)
        if self.resampler is None:
            self.resampler, self.rate = Resampler(rate, self.config.sampling_rate), rate
        if rate != self.rate:
            raise UserError(f"this stream began with {self.rate} Hz, now a packet has {rate} Hz: begin a new stream")
        self._feed(self.resampler(packet))

    def finish(self) -> None:
        """There is no more audio."""
        if self.resampler is not None:
            self._feed(self.resampler.finish())
        self.fbank.input_finished()

    def take(self) -> NDArray[np.float32]:
        """The frames (T, F) that have become complete since the last call."""
        ready = self.fbank.num_frames_ready
        frames = np.zeros((ready - self.read, self.config.num_mel_bins), dtype=np.float32)
        for row, number in zip(frames, range(self.read, ready), strict=True):
            row[:] = self.fbank.get_frame(number)  # a view, which `pop` makes invalid
        self.fbank.pop(ready - self.read)
        self.read = ready
        return frames

    def _feed(self, samples: Samples) -> None:
        if len(samples):
            self.fbank.accept_waveform(self.config.sampling_rate, samples.tolist())


def as_floats(samples: NDArray[np.int16] | Samples) -> Samples:
    """Samples as float32 in [-1, 1].

    Raises:
        UserError: another type or shape, or values that are not finite or far beyond [-1, 1].
    """
    given: NDArray[Any] = np.asarray(samples)
    if given.ndim != 1 or given.dtype not in (np.int16, np.float32):
        raise UserError(
            f"samples of shape {given.shape} and type {given.dtype}: want one channel, int16 or float32 "
            "(of bytes make them by numpy.frombuffer)"
        )
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / np.float32(_INT16)
    if not np.isfinite(samples).all():
        raise UserError("samples that are not finite numbers; check how they were converted")
    if (loudest := np.abs(samples).max(initial=0.0)) > _LOUDEST:
        raise UserError(f"a sample of {loudest:g}: floats must lie in [-1, 1]; divide int16 values by 32768")
    return samples.astype(np.float32, copy=False)


def fbank_options(config: FeatureConfig) -> knf.FbankOptions:
    """The same description that Lhotse's extractor is made from."""
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = config.sampling_rate
    options.frame_opts.frame_length_ms = 1000 * config.frame_length
    options.frame_opts.frame_shift_ms = 1000 * config.frame_shift
    options.frame_opts.dither = config.dither
    options.frame_opts.snip_edges = False
    options.mel_opts.num_bins = config.num_mel_bins
    options.mel_opts.low_freq = config.low_freq
    options.mel_opts.high_freq = config.high_freq
    return options

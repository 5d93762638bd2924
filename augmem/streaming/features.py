"""Features of a stream, equal to those of the whole recording for any packet sizes and any sampling rate."""

from __future__ import annotations

from typing import Any

import kaldi_native_fbank as knf
import numpy as np
from numpy.typing import NDArray

from augmem.audio import MAX_PEAK, SAMPLE_RATES
from augmem.errors import UserError
from augmem.features import FeatureConfig
from augmem.streaming.resampling import Resampler, Samples

_INT16_SCALE = 32768.0


class OnlineFeatures:
    """Log-mel features of one stream.

    The last frames are complete only after `finish`: without `snip_edges` a window may extend beyond the end.

    Args:
        config: feature options of the model.
    """

    def __init__(self, config: FeatureConfig) -> None:
        self.config = config
        self.fbank = knf.OnlineFbank(fbank_options(config))
        self.resampler: Resampler | None = None
        self.sample_rate = 0
        self.taken = 0

    def accept(self, samples: NDArray[np.int16] | Samples, sample_rate: int) -> None:
        """Add a packet (n,) of int16 samples, or of float32 samples in [-1, 1].

        Raises:
            UserError: invalid samples, a sampling rate out of range, or another one than before.
        """
        packet = to_float32(samples)
        if sample_rate not in SAMPLE_RATES:
            raise UserError(f"sampling rate {sample_rate} Hz: must be from {SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]} Hz")
        if self.resampler is None:
            self.resampler, self.sample_rate = Resampler(sample_rate, self.config.sampling_rate), sample_rate
        if sample_rate != self.sample_rate:
            raise UserError(
                f"sampling rate {sample_rate} Hz in a stream that began with {self.sample_rate} Hz: create a new stream"
            )
        self._add(self.resampler(packet))

    def finish(self) -> None:
        """Mark the end of the audio."""
        if self.resampler is not None:
            self._add(self.resampler.finish())
        self.fbank.input_finished()

    def take(self) -> NDArray[np.float32]:
        """Return the frames (T, F) that have become complete since the last call."""
        ready = self.fbank.num_frames_ready
        frames = np.zeros((ready - self.taken, self.config.num_mel_bins), dtype=np.float32)
        for row, number in zip(frames, range(self.taken, ready), strict=True):
            row[:] = self.fbank.get_frame(number)  # a view, which `pop` invalidates
        self.fbank.pop(ready - self.taken)
        self.taken = ready
        return frames

    def _add(self, samples: Samples) -> None:
        if len(samples):
            self.fbank.accept_waveform(self.config.sampling_rate, samples.tolist())


def to_float32(samples: NDArray[np.int16] | Samples) -> Samples:
    """Convert samples (n,) to float32 in [-1, 1].

    Raises:
        UserError: another type or shape, or values that are not finite or far beyond [-1, 1].
    """
    given: NDArray[Any] = np.asarray(samples)
    if given.ndim != 1 or given.dtype not in (np.int16, np.float32):
        raise UserError(
            f"samples of shape {given.shape} and type {given.dtype}: must be one channel, int16 or float32 "
            "(convert bytes by numpy.frombuffer)"
        )
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / np.float32(_INT16_SCALE)
    if not np.isfinite(samples).all():
        raise UserError("samples are not finite numbers; check how they were converted")
    if (largest := np.abs(samples).max(initial=0.0)) > MAX_PEAK:
        raise UserError(f"sample {largest:g}: float32 samples must be in [-1, 1]; divide int16 values by 32768")
    return samples.astype(np.float32, copy=False)


def fbank_options(config: FeatureConfig) -> knf.FbankOptions:
    """Return the options of kaldi-native-fbank that correspond to those of Lhotse's extractor."""
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = config.sampling_rate
    options.frame_opts.frame_length_ms = 1000 * config.frame_length
    options.frame_opts.frame_shift_ms = 1000 * config.frame_shift
    options.frame_opts.dither = config.dither
    options.frame_opts.snip_edges = False
    options.mel_opts.num_bins = config.num_mel_bins
    options.mel_opts.low_freq = config.low_freq
    options.mel_opts.high_freq = config.upper_edge
    return options

"""What the model hears: one description, shared by the offline and the online extractor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FeatureConfig:
    """What the model hears: Kaldi's log-mel filter banks.

    Args:
        sampling_rate: Hz; audio of any other rate is resampled.
        num_mel_bins: bins of the mel filter bank.
        frame_length: seconds under one window.
        frame_shift: seconds from one window to the next.
        low_freq: Hz, lower edge of the lowest filter.
        high_freq: Hz, upper edge of the highest; zero or less: that far below half the sampling rate.
        dither: standard deviation of the noise added to the samples, which lie in [-1, 1]; 0: reproducible.
        speed_perturb: also store the training parts at 0.9 and 1.1 times their speed.
    """

    sampling_rate: int = 16000
    num_mel_bins: int = 80
    frame_length: float = 0.025
    frame_shift: float = 0.01
    low_freq: float = 20.0
    high_freq: float = -400.0
    dither: float = 0.0
    speed_perturb: bool = False

    def __post_init__(self) -> None:
        for name in ("sampling_rate", "num_mel_bins", "frame_length", "frame_shift"):
            if getattr(self, name) <= 0:
                raise ValueError(f"features.{name}={getattr(self, name)}: must be positive")
        if self.dither < 0:
            raise ValueError(f"features.dither={self.dither}: must not be negative")
        nyquist = self.sampling_rate / 2
        high = self.high_freq if self.high_freq > 0 else nyquist + self.high_freq
        if not 0 <= self.low_freq < high <= nyquist:
            raise ValueError(
                f"features: low_freq={self.low_freq} and high_freq={self.high_freq} (that is {high} Hz) must "
                f"lie in this order between 0 and {nyquist} Hz, half the sampling rate"
            )

    @property
    def name(self) -> str:
        """What a folder of such features is called: fbank80-16000, or fbank80-16000-sp with speed perturbation."""
        return f"fbank{self.num_mel_bins}-{self.sampling_rate}" + ("-sp" if self.speed_perturb else "")

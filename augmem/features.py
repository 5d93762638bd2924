"""Options of feature extraction, shared by the offline and the online extractor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from augmem.errors import UserError, check_option

EXTRACTORS = ("fbank", "kaldifeat")


@dataclass(frozen=True)
class FeatureConfig:
    """Options of Kaldi's log-mel filter banks.

    Args:
        sampling_rate: Hz; audio with another rate is resampled.
        num_mel_bins: mel filters F.
        frame_length: window length in seconds.
        frame_shift: seconds between windows.
        low_freq: Hz, lower edge of the lowest filter.
        high_freq: Hz, upper edge of the highest filter; zero or negative: relative to `band`, or to half the sampling
            rate.
        band: highest frequency in Hz, at any sampling rate; 0: half the sampling rate. 4000 for telephone speech:
            half of the training utterances are then coded by G.711.
        dither: standard deviation of noise added to the samples, which are in [-1, 1]; 0 for reproducible features.
        speed_perturb: also store the training parts at 0.9 and 1.1 times their speed.
        extractor: program that computes stored features: fbank (Lhotse's) or kaldifeat (on a GPU if torch finds one),
            installed by local/install_kaldifeat.sh. Both give equal features.

    Raises:
        UserError: a value is out of range.

    Example:
        >>> FeatureConfig(speed_perturb=True).name
        'fbank80-16000-sp'
    """

    sampling_rate: int = 16000
    num_mel_bins: int = 80
    frame_length: float = 0.025
    frame_shift: float = 0.01
    low_freq: float = 20.0
    high_freq: float = -400.0
    band: float = 0.0
    dither: float = 0.0
    speed_perturb: bool = False
    extractor: Literal["fbank", "kaldifeat"] = "fbank"

    def __post_init__(self) -> None:
        for name in ("sampling_rate", "num_mel_bins", "frame_length", "frame_shift"):
            self._require(name, getattr(self, name) > 0, "be positive")
        self._require("dither", self.dither >= 0, "be at least 0")
        self._require("extractor", self.extractor in EXTRACTORS, f"be one of {', '.join(EXTRACTORS)}")
        nyquist, high = self.sampling_rate / 2, self.upper_edge
        self._require("band", 0 <= self.band <= nyquist, f"be from 0 to {nyquist:g} Hz, half the sampling rate")
        if not 0 <= self.low_freq < high <= nyquist:
            raise UserError(
                f"features.low_freq={self.low_freq} and features.high_freq={self.high_freq} ({high} Hz) must be in "
                f"this order between 0 and {nyquist} Hz, half the sampling rate"
            )

    def _require(self, name: str, condition: bool, rule: str) -> None:
        check_option(f"features.{name}", getattr(self, name), condition, rule)

    @property
    def upper_edge(self) -> float:
        """Upper edge of the highest filter, Hz."""
        return self.high_freq if self.high_freq > 0 else (self.band or self.sampling_rate / 2) + self.high_freq

    @property
    def name(self) -> str:
        """Name of the feature folder: fbank80-16000, kaldifeat80-16000, with -band4000 and, if speed-perturbed, -sp."""
        band = f"-band{self.band:g}" if self.band else ""
        return f"{self.extractor}{self.num_mel_bins}-{self.sampling_rate}{band}" + ("-sp" if self.speed_perturb else "")

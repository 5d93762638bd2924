"""Data augmentation by reverberation and additive noise.

Both change samples, in the process that loads a batch, so that an utterance is different in every epoch.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from lhotse import Recording
from lhotse.audio.mixer import AudioMixer
from lhotse.augmentation import ReverbWithImpulseResponse

from augmem.corpus.audio import describe_audio
from augmem.errors import UserError, check_option

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aiff"})
_DECAY = 6.9  # natural logarithm of a ratio of 60 dB in amplitude


@dataclass(frozen=True)
class NoiseConfig:
    """Additive noise.

    Args:
        source: folder of noise, such as MUSAN (OpenSLR 17); all audio files below it are used. null: no noise.
        snr: range of the signal-to-noise ratio of an utterance, in decibels.
        probability: probability that noise is added to an utterance.
    """

    source: str | None = None
    snr: tuple[float, float] = (5.0, 20.0)
    probability: float = 0.5

    def __post_init__(self) -> None:
        if self.snr[0] > self.snr[1]:
            raise UserError(f"training.batches.noise.snr is {self.snr}; the lower limit must come first")
        _check_probability("noise", self.probability)


@dataclass(frozen=True)
class ReverbConfig:
    """Reverberation.

    Args:
        probability: probability that reverberation is added to an utterance.
        source: folder of recorded impulse responses, such as OpenSLR 28; null: simulated rooms.
        reverberation_time: range of the reverberation time T60 of simulated rooms, in seconds.
        distance: range of the distance between speaker and microphone in simulated rooms, in metres.
    """

    probability: float = 0.0
    source: str | None = None
    reverberation_time: tuple[float, float] = (0.1, 0.6)
    distance: tuple[float, float] = (0.3, 4.0)

    def __post_init__(self) -> None:
        for name in ("reverberation_time", "distance"):
            low, high = getattr(self, name)
            option = f"training.batches.reverb.{name}"
            check_option(option, (low, high), 0 < low <= high, "be two positive numbers, the lower first")
        _check_probability("reverb", self.probability)


def _check_probability(section: str, value: float) -> None:
    check_option(f"training.batches.{section}.probability", value, 0 <= value <= 1, "be between 0 and 1")


def add_noise(samples: np.ndarray, rate: int, config: NoiseConfig) -> np.ndarray:
    """Add a random section of a random noise recording; repeat recordings that are too short.

    Args:
        samples: (1, samples).
        rate: sampling rate in Hz.
        config: noise; its source must be set.

    Returns:
        (1, samples). Uses Python's global random state.
    """
    noise = random.choice(recordings_in(str(config.source))).resample(rate)
    seconds = min(samples.shape[1] / rate, noise.duration)
    start = random.uniform(0, noise.duration - seconds)
    section = noise.load_audio(channels=0, offset=start, duration=seconds)
    mixer = AudioMixer(samples, rate)
    mixer.add_to_mix(np.resize(section, samples.shape), snr=random.uniform(*config.snr))
    return mixer.mixed_audio


def add_reverberation(samples: np.ndarray, rate: int, config: ReverbConfig) -> np.ndarray:
    """Convolve speech with a random impulse response; keep loudness and length (Ko et al., ICASSP 2017).

    Args:
        samples: (1, samples).
        rate: sampling rate in Hz.
        config: impulse responses.

    Returns:
        (1, samples) float32. Uses the global random states of Python and NumPy.
    """
    if config.source is None:
        time, distance = random.uniform(*config.reverberation_time), random.uniform(*config.distance)
        transform = ReverbWithImpulseResponse(rir_generator=lambda nsource: impulse_response(time, distance, rate))
    else:
        transform = ReverbWithImpulseResponse(rir=random.choice(recordings_in(config.source)).resample(rate))
    return np.asarray(transform(samples, rate), dtype=np.float32)


def impulse_response(reverberation_time: float, distance: float, rate: int) -> np.ndarray:
    """Simulate a room impulse response: direct sound, then noise that decays exponentially (Polack's model).

    Lhotse also simulates rooms (arXiv 2208.04101), but requires torchaudio.

    Args:
        reverberation_time: T60, in seconds.
        distance: between speaker and microphone, in metres. The energy of reverberation equals that of the direct sound
            at the critical distance of a room of 50 cubic metres, and increases with the square of the distance.
        rate: sampling rate in Hz.

    Returns:
        (1, samples) float32. Uses NumPy's global random state.
    """
    times = np.arange(1, max(2, round(reverberation_time * rate))) / rate
    tail = np.random.standard_normal(len(times)) * np.exp(-_DECAY * times / reverberation_time)
    critical_distance = 0.057 * np.sqrt(50 / reverberation_time)
    tail *= distance / critical_distance / np.sqrt(np.sum(tail**2))
    return np.concatenate([[1.0], tail])[None].astype(np.float32)


@lru_cache(maxsize=8)
def recordings_in(folder: str) -> tuple[Recording, ...]:
    """Return recordings of all audio files below a folder, sorted by name.

    Raises:
        FileNotFoundError: there is no audio file.
        UserError: a file cannot be decoded.
    """
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if not paths:
        raise FileNotFoundError(
            f"{folder}: no audio in this folder; there should be files {', '.join(sorted(AUDIO_SUFFIXES))}"
        )
    return tuple(describe_audio(path, str(path)) for path in paths)

"""Speech as it would sound elsewhere: in another room, and with noise around it.

Both work on samples, in the process that loads a batch, so that an utterance never sounds the same twice.
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

from augmem.corpus.manifests import describe_audio

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aiff"})
_DECAY = 6.9  # natural logarithm of 60 dB in amplitude


@dataclass(frozen=True)
class NoiseConfig:
    """Noise to be mixed in.

    Args:
        source: a folder of noise: MUSAN, its subfolder `noise`, or any other; every audio file in it and below it is
            used. null: no noise.
        snr: lowest and highest ratio of speech to noise, in decibels, over a whole utterance.
        probability: that an utterance is mixed with noise at all.
    """

    source: str | None = None
    snr: tuple[float, float] = (5.0, 20.0)
    probability: float = 0.5

    def __post_init__(self) -> None:
        if self.snr[0] > self.snr[1]:
            raise ValueError(f"noise.snr={self.snr}: the lowest ratio comes first")
        _check_probability("noise", self.probability)


@dataclass(frozen=True)
class ReverbConfig:
    """Rooms to speak in.

    Args:
        probability: that an utterance is put into a room at all; 0: no reverberation.
        source: a folder of recorded impulse responses, such as OpenSLR 28's; null: rooms are made up.
        reverberation_time: shortest and longest time in which the sound of a made-up room falls by 60 dB, in seconds.
        distance: shortest and longest way from mouth to microphone in a made-up room, in metres.
    """

    probability: float = 0.0
    source: str | None = None
    reverberation_time: tuple[float, float] = (0.1, 0.6)
    distance: tuple[float, float] = (0.3, 4.0)

    def __post_init__(self) -> None:
        for name in ("reverberation_time", "distance"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"reverb.{name}={(low, high)}: must be two positive numbers, the lower first")
        _check_probability("reverb", self.probability)


def _check_probability(section: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{section}.probability={value}: must lie between 0 and 1")


def with_noise(samples: np.ndarray, rate: int, config: NoiseConfig) -> np.ndarray:
    """Mix a random stretch of a random noise in; a noise that is too short is repeated.

    Args:
        samples: (1, samples).
        rate: Hz.
        config: which noise, how loud; its source must be named.

    Returns:
        of the same shape; drawn from Python's global random state.
    """
    noise = random.choice(recordings_in(str(config.source))).resample(rate)
    seconds = min(samples.shape[1] / rate, noise.duration)
    start = random.uniform(0, noise.duration - seconds)
    stretch = noise.load_audio(channels=0, offset=start, duration=seconds)
    mixer = AudioMixer(samples, rate)
    mixer.add_to_mix(np.resize(stretch, samples.shape), snr=random.uniform(*config.snr))
    return mixer.mixed_audio


def with_reverberation(samples: np.ndarray, rate: int, config: ReverbConfig) -> np.ndarray:
    """Put speech into a random room; its loudness and length stay (Ko et al., ICASSP 2017).

    Args:
        samples: (1, samples).
        rate: Hz.
        config: which rooms.

    Returns:
        of the same shape; drawn from Python's and NumPy's global random states.
    """
    if config.source is None:
        time, distance = random.uniform(*config.reverberation_time), random.uniform(*config.distance)
        transform = ReverbWithImpulseResponse(rir_generator=lambda nsource: impulse_response(time, distance, rate))
    else:
        transform = ReverbWithImpulseResponse(rir=random.choice(recordings_in(config.source)).resample(rate))
    return np.asarray(transform(samples, rate), dtype=np.float32)


def impulse_response(reverberation_time: float, distance: float, rate: int) -> np.ndarray:
    """A made-up room: the direct sound, then noise that decays exponentially (Polack's model).

    Lhotse can make up rooms too (arXiv 2208.04101), but needs torchaudio for it.

    Args:
        reverberation_time: seconds until the sound has fallen by 60 dB.
        distance: from mouth to microphone, in metres; the reverberation equals the direct sound in energy at the
            critical distance, here of a room of 50 cubic metres, and grows with the square of the distance.
        rate: Hz.

    Returns:
        (1, samples); the tail is drawn from NumPy's global random state.
    """
    times = np.arange(1, max(2, round(reverberation_time * rate))) / rate
    tail = np.random.standard_normal(len(times)) * np.exp(-_DECAY * times / reverberation_time)
    critical_distance = 0.057 * np.sqrt(50 / reverberation_time)
    tail *= distance / critical_distance / np.sqrt(np.sum(tail**2))
    return np.concatenate([[1.0], tail])[None].astype(np.float32)


@lru_cache(maxsize=8)
def recordings_in(folder: str) -> tuple[Recording, ...]:
    """Every audio file in a folder and below it, by name.

    Raises:
        FileNotFoundError: there is none.
        ValueError: one is no audio.
    """
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if not paths:
        raise FileNotFoundError(
            f"{folder}: no audio in this folder; it should hold {', '.join(sorted(AUDIO_SUFFIXES))}"
        )
    return tuple(describe_audio(path, str(path)) for path in paths)

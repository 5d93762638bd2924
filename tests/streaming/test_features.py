"""Resampling and features in packets of any size equal those of the whole recording, and Lhotse's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse.augmentation.resample import resample

from augmem.corpus import extractor
from augmem.features import FeatureConfig
from augmem.streaming import OnlineFeatures, Resampler

SPEECH = Path(__file__).parents[1] / "fixtures" / "speech" / "flac"
SIZES = st.lists(st.integers(1, 3000), min_size=1, max_size=4)


def packets(samples: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """Cut into packets whose sizes take turns."""
    found, at, turn = [], 0, 0
    while at < len(samples):
        found.append(samples[at : at + sizes[turn % len(sizes)]])
        at, turn = at + sizes[turn % len(sizes)], turn + 1
    return found


def noise(length: int) -> np.ndarray:
    return np.random.default_rng(length).uniform(-0.5, 0.5, length).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5000), st.sampled_from([8000, 11025, 22050, 44100, 48000, 16000]), SIZES)
def test_resampled_packets_equal_lhotse(length: int, rate: int, sizes: list[int]) -> None:
    samples, resampler = noise(length), Resampler(rate, 16000)
    mine = np.concatenate([*(resampler(packet) for packet in packets(samples, sizes)), resampler.finish()])
    whole = resample(torch.from_numpy(samples), rate, 16000).numpy()
    assert mine.shape == whole.shape
    np.testing.assert_allclose(mine, whole, atol=5e-5)


@pytest.mark.parametrize("rate", [44101, 191999])
def test_a_rate_that_shares_no_divisor_costs_no_more(rate: int) -> None:
    """Filters for all of the 16000 places between two samples: as one dense matrix they were up to 23 GiB."""
    resampler, samples = Resampler(rate, 16000), np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)
    assert resampler.taps.nbytes < 1 << 25
    first = resampler(samples[: rate // 10])
    assert len(first) > 1500  # at once, not after a second
    resampled = np.concatenate([first, resampler(samples[rate // 10 :]), resampler.finish()])
    tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert resampled.shape == tone.shape
    np.testing.assert_allclose(resampled[100:-100], tone[100:-100], atol=2e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 6000), st.sampled_from([8000, 16000, 44100]), SIZES, st.booleans())
def test_features_do_not_depend_on_packets(length: int, rate: int, sizes: list[int], integers: bool) -> None:
    samples = noise(length)
    if integers:
        samples = (samples * 32767).astype(np.int16)
    taken = []
    for cut in (sizes, [max(1, length)]):
        features = OnlineFeatures(FeatureConfig())
        frames = []
        for packet in packets(samples, cut):
            features.accept(packet, rate)
            frames.append(features.take())
        features.finish()
        taken.append(np.concatenate([*frames, features.take()]))
    assert taken[0].shape == taken[1].shape
    np.testing.assert_allclose(taken[0], taken[1], atol=2e-4)


def test_single_samples() -> None:
    samples, features, whole = noise(1000), OnlineFeatures(FeatureConfig()), OnlineFeatures(FeatureConfig())
    for sample in samples:
        features.accept(sample[None], 16000)
    whole.accept(samples, 16000)
    features.finish()
    whole.finish()
    np.testing.assert_allclose(features.take(), whole.take(), atol=2e-4)


@pytest.mark.parametrize("path", sorted(SPEECH.glob("*.flac"))[::7], ids=lambda path: path.stem)
def test_features_equal_those_of_training(path: Path) -> None:
    """Where there is energy: both round near the floor of the logarithm, each in its own way."""
    samples, rate = soundfile.read(path, dtype="float32")
    features = OnlineFeatures(FeatureConfig())
    for packet in packets(samples, [1601]):
        features.accept(packet, rate)
    features.finish()
    online, offline = features.take(), extractor(FeatureConfig()).extract(samples, rate)
    assert online.shape == offline.shape
    loud = offline > -8
    assert loud.mean() > 0.3
    np.testing.assert_allclose(online[loud], offline[loud], atol=2e-4)


def test_bad_packets_are_refused() -> None:
    features = OnlineFeatures(FeatureConfig())
    with pytest.raises(ValueError, match="want one channel, int16 or float32"):
        features.accept(np.zeros((10, 2), dtype=np.float32), 16000)
    with pytest.raises(ValueError, match="not finite"):
        features.accept(np.full(10, np.nan, dtype=np.float32), 16000)
    for loud in (20000.0, 3e38):  # whole numbers as floats; what overflows in the power spectrum
        with pytest.raises(ValueError, match=r"must lie in \[-1, 1\]; divide int16 values by 32768"):
            features.accept(np.array([0.0, -loud], dtype=np.float32), 16000)
    features.accept(np.zeros(10, dtype=np.int16), 8000)
    with pytest.raises(ValueError, match="began with 8000 Hz, now a packet has 16000 Hz"):
        features.accept(np.zeros(10, dtype=np.int16), 16000)

"""Online features against those of whole recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from augmem.corpus import extractor
from augmem.errors import UserError
from augmem.features import FeatureConfig
from augmem.streaming import OnlineFeatures
from tests.tiny import split_packets, white_noise

SPEECH = Path(__file__).parents[1] / "fixtures" / "speech" / "flac"
SIZES = st.lists(st.integers(1, 3000), min_size=1, max_size=4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 6000), st.sampled_from([8000, 16000, 44100]), SIZES, st.booleans())
def test_features_do_not_depend_on_packet_sizes(length: int, rate: int, sizes: list[int], integers: bool) -> None:
    samples = white_noise(length)
    if integers:
        samples = (samples * 32767).astype(np.int16)
    taken = []
    for cut in (sizes, [max(1, length)]):
        features = OnlineFeatures(FeatureConfig())
        frames = []
        for packet in split_packets(samples, cut):
            features.accept(packet, rate)
            frames.append(features.take())
        features.finish()
        taken.append(np.concatenate([*frames, features.take()]))
    assert taken[0].shape == taken[1].shape
    np.testing.assert_allclose(taken[0], taken[1], atol=2e-4)


def test_packets_of_single_samples() -> None:
    samples, features, whole = white_noise(1000), OnlineFeatures(FeatureConfig()), OnlineFeatures(FeatureConfig())
    for sample in samples:
        features.accept(sample[None], 16000)
    whole.accept(samples, 16000)
    features.finish()
    whole.finish()
    np.testing.assert_allclose(features.take(), whole.take(), atol=2e-4)


@pytest.mark.parametrize("path", sorted(SPEECH.glob("*.flac"))[::7], ids=lambda path: path.stem)
def test_features_equal_those_of_training(path: Path) -> None:
    """Except near the floor of the logarithm, where both round differently."""
    samples, rate = soundfile.read(path, dtype="float32")
    features = OnlineFeatures(FeatureConfig())
    for packet in split_packets(samples, [1601]):
        features.accept(packet, rate)
    features.finish()
    online, offline = features.take(), extractor(FeatureConfig()).extract(samples, rate)
    assert online.shape == offline.shape
    loud = offline > -8
    assert loud.mean() > 0.3
    np.testing.assert_allclose(online[loud], offline[loud], atol=2e-4)


def test_invalid_packets_are_refused() -> None:
    features = OnlineFeatures(FeatureConfig())
    with pytest.raises(UserError, match="must be one channel, int16 or float32"):
        features.accept(np.zeros((10, 2), dtype=np.float32), 16000)
    with pytest.raises(UserError, match="not finite"):
        features.accept(np.full(10, np.nan, dtype=np.float32), 16000)
    for loud in (5.0, 20000.0, 3e38):  # int16 values as floats; values that overflow in the power spectrum
        with pytest.raises(UserError, match=r"must be in \[-1, 1\]; divide int16 values by 32768"):
            features.accept(np.array([0.0, -loud], dtype=np.float32), 16000)
    for rate in (0, 1, 3999, 20_000_000):
        with pytest.raises(UserError, match=f"sampling rate {rate} Hz: must be from 4000 to 192000 Hz"):
            features.accept(np.zeros(10, dtype=np.int16), rate)
    features.accept(np.zeros(10, dtype=np.int16), 8000)
    with pytest.raises(UserError, match="sampling rate 16000 Hz in a stream that began with 8000 Hz"):
        features.accept(np.zeros(10, dtype=np.int16), 16000)

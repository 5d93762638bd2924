"""Resampling of packets against Lhotse's resampling of the whole recording."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse.augmentation.resample import resample

from augmem.streaming import Resampler
from tests.tiny import split_packets, white_noise

SIZES = st.lists(st.integers(1, 3000), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5000), st.sampled_from([8000, 11025, 22050, 44100, 48000, 16000]), SIZES)
def test_packets_equal_lhotse_on_the_whole_recording(length: int, rate: int, sizes: list[int]) -> None:
    samples, resampler = white_noise(length), Resampler(rate, 16000)
    packetwise = np.concatenate([*(resampler(packet) for packet in split_packets(samples, sizes)), resampler.finish()])
    whole = resample(torch.from_numpy(samples), rate, 16000).numpy()
    assert packetwise.shape == whole.shape
    np.testing.assert_allclose(packetwise, whole, atol=5e-5)


@pytest.mark.parametrize("rate", [44101, 191999])
def test_rate_without_common_divisor_needs_little_memory(rate: int) -> None:
    """It has 16000 filters, one for each position between two samples; a dense matrix of them would have 23 GiB."""
    resampler, samples = Resampler(rate, 16000), np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)
    assert resampler.taps.nbytes < 1 << 25
    first = resampler(samples[: rate // 10])
    assert len(first) > 1500  # without the delay of a whole block, which is a second
    resampled = np.concatenate([first, resampler(samples[rate // 10 :]), resampler.finish()])
    tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert resampled.shape == tone.shape
    np.testing.assert_allclose(resampled[100:-100], tone[100:-100], atol=2e-3)

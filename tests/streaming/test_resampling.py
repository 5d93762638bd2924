"""Resampling of packets against Lhotse's resampling of the whole recording."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse.augmentation.resample import resample

from augmem.errors import UserError
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


@pytest.mark.parametrize("rate", [3999, 192001, 0, -8000])
def test_rates_out_of_range_are_refused(rate: int) -> None:
    with pytest.raises(UserError, match=f"sampling rate of {rate} Hz: must be a whole number from 4000 to 192000"):
        Resampler(rate, 16000)


@pytest.mark.parametrize("rate", [4001, 44101])
def test_interpolated_filters_agree_with_the_formula(rate: int) -> None:
    """The windowed sinc function in double precision, evaluated at the inputs around some outputs."""
    samples, cutoff = white_noise(1000), 0.99 * min(1, 16000 / rate)
    resampled = np.concatenate([(resampler := Resampler(rate, 16000))(samples), resampler.finish()])
    for output in range(0, len(resampled), 37):
        angles = np.clip((np.arange(len(samples)) - output * rate / 16000) * cutoff, -6, 6)
        filtered = samples * np.sinc(angles) * np.cos(np.pi * angles / 12) ** 2 * cutoff
        assert resampled[output] == pytest.approx(filtered.sum(), abs=5e-6)


@pytest.mark.parametrize("rate", [44101, 191999])
def test_rate_without_common_divisor_needs_little_memory(rate: int) -> None:
    """It has 16000 phases; a table of all filters would take 19 MB, a dense matrix of them 23 GiB."""
    resampler, samples = Resampler(rate, 16000), np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)
    assert resampler.taps.nbytes < 5 << 20 and Resampler(rate, 16000).taps is resampler.taps, "shared by streams"
    first = resampler(samples[: rate // 10])
    assert len(first) > 1500  # without the delay of a whole block, which is a second
    resampled = np.concatenate([first, resampler(samples[rate // 10 :]), resampler.finish()])
    tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert resampled.shape == tone.shape
    np.testing.assert_allclose(resampled[100:-100], tone[100:-100], atol=2e-3)

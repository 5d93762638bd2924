"""G.711 coding and features of a narrow band."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.signal import resample_poly

from augmem.corpus.extractors import extractor
from augmem.corpus.telephone import Law, choose_law, code_g711
from augmem.features import FeatureConfig
from augmem.streaming import OnlineFeatures

MU = 255


def tone(frequency: float, rate: int, amplitude: float = 0.3) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(rate) / rate)).astype(np.float32)


def test_mu_law_has_the_levels_of_its_curve() -> None:
    """The steps of mu-law are within half a step of the logarithmic curve that defines it."""
    samples = np.linspace(-0.98, 0.98, 801, dtype=np.float32)
    coded = code_g711(samples, 8000, "ULAW")
    curve = np.sign(coded) * np.log1p(MU * np.abs(coded)) / np.log1p(MU)
    expected = np.sign(samples) * np.log1p(MU * np.abs(samples)) / np.log1p(MU)
    assert np.abs(curve - expected).max() < 1 / 128
    assert len(np.unique(coded)) <= 255


@pytest.mark.parametrize("law", ["ULAW", "ALAW"])
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100])
def test_coding_keeps_the_band_and_removes_what_is_above(law: Law, rate: int) -> None:
    inside, middle = code_g711(tone(1003, rate), rate, law), slice(rate // 4, 3 * rate // 4)
    noise = (inside - tone(1003, rate))[middle]
    assert len(inside) == rate
    assert 25 < 10 * np.log10((tone(1003, rate)[middle] ** 2).mean() / (noise**2).mean()) < 45  # about 38 dB
    if rate > 11025:
        assert np.abs(code_g711(tone(5000, rate), rate, law)[middle]).max() < 0.02


def test_half_of_the_utterances_are_coded() -> None:
    counts = Counter(choose_law(f"speaker-{number}") for number in range(2000))
    assert counts[None] == pytest.approx(1000, abs=100)
    assert counts["ULAW"] == pytest.approx(500, abs=80) and counts["ALAW"] == pytest.approx(500, abs=80)


def test_features_of_a_band_do_not_depend_on_what_is_above() -> None:
    config = FeatureConfig(band=4000.0)
    random = np.random.default_rng(0).normal(scale=0.1, size=16000).astype(np.float32)
    narrow = resample_poly(resample_poly(random, 1, 2), 2, 1).astype(np.float32)
    whole, limited = (extractor(config).extract(samples, 16000)[5:-5] for samples in (random, narrow))
    assert np.abs(whole - limited)[:, :70].max() < 0.3  # the resampling filter begins at the last bins
    assert np.abs(extractor(FeatureConfig()).extract(random, 16000)[5:-5] - whole).max() > 1
    online = OnlineFeatures(config)
    online.accept(random, 16000)
    online.finish()
    np.testing.assert_allclose(online.take(), extractor(config).extract(random, 16000), atol=2e-3)
    assert config.name == "fbank80-16000-band4000"

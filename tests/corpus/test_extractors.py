"""Extractors: kaldifeat equal to Lhotse's and to the online one; a clear message where it is not installed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from augmem.corpus import compute_features, extract_batch, extractor, load_cuts
from augmem.errors import UserError
from augmem.features import FeatureConfig
from augmem.streaming import OnlineFeatures
from tests.corpus.corpora import FIXTURE, PART
from tests.tiny import white_noise

KALDIFEAT = FeatureConfig(extractor="kaldifeat")
TOLERANCE = 1.5e-3


@pytest.fixture
def kaldifeat() -> None:
    pytest.importorskip("kaldifeat", reason="kaldifeat is not installed: local/install_kaldifeat.sh")


def signals() -> list[np.ndarray]:
    """Speech, noise of several lengths, and silence with a click: (1, n) each."""
    speech = [soundfile.read(path, dtype="float32")[0] for path in sorted((FIXTURE / "flac").glob("*.flac"))[::5]]
    click = np.zeros(4000, np.float32)
    click[2000] = 0.5
    return [signal[None] for signal in (*speech, white_noise(200), white_noise(7003), white_noise(16000), click)]


@pytest.mark.usefixtures("kaldifeat")
def test_kaldifeat_equals_lhotse_and_the_online_extractor() -> None:
    by_kaldifeat = extract_batch(KALDIFEAT, signals())
    for signal, found, expected in zip(signals(), by_kaldifeat, extract_batch(FeatureConfig(), signals()), strict=True):
        assert found.shape == expected.shape and found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)
        online = OnlineFeatures(KALDIFEAT)
        online.accept(signal[0], 16000)
        online.finish()
        np.testing.assert_allclose(found, online.take(), atol=TOLERANCE, rtol=0)


@pytest.mark.usefixtures("kaldifeat")
def test_other_options_are_those_of_lhotse() -> None:
    config = FeatureConfig(8000, 40, frame_length=0.02, frame_shift=0.0125, low_freq=64.0, high_freq=3700.0)
    noise = [white_noise(9000)[None]]
    (found,), (expected,) = extract_batch(replace(config, extractor="kaldifeat"), noise), extract_batch(config, noise)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.usefixtures("kaldifeat")
def test_stored_features_are_equal(
    manifests: Path, features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augmem.corpus.feature_store._BATCH_SECONDS", 7.0)
    compute_features(KALDIFEAT, manifests / PART, tmp_path / PART)
    for ours, theirs in zip(load_cuts(tmp_path, [PART]), load_cuts(features, [PART]), strict=True):
        assert ours.id == theirs.id and ours.features.type == "kaldifeat-fbank"
        np.testing.assert_allclose(ours.load_features(), theirs.load_features(), atol=0.05)  # lilcom is lossy


def test_kaldifeat_that_cannot_be_imported_is_explained(
    manifests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kaldifeat", None)
    extractor.cache_clear()
    with pytest.raises(UserError, match=r"kaldifeat cannot be imported .*run local/install_kaldifeat.sh"):
        compute_features(KALDIFEAT, manifests / PART, tmp_path / PART)
    assert not any(tmp_path.iterdir())


def test_extractors_have_folders_of_their_own() -> None:
    assert FeatureConfig().name == "fbank80-16000"
    assert KALDIFEAT.name == "kaldifeat80-16000"
    with pytest.raises(UserError, match=r"features.extractor is 'torchaudio'; it must be one of fbank, kaldifeat"):
        FeatureConfig(extractor="torchaudio")

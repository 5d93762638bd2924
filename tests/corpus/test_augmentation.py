"""Noise and reverberation: levels, exact resumption, stored features for audio without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from lhotse import CutSet
from lhotse.utils import fastcopy

from augmem.corpus import BatchConfig, NoiseConfig, ReverbConfig, SpecAugmentConfig, load_cuts, training_batches
from augmem.corpus.augmentation import add_noise, add_reverberation, impulse_response, recordings_in
from augmem.corpus.batches import random_state
from augmem.errors import UserError
from tests.corpus.corpora import PART, write_tone
from tests.corpus.test_batches import assert_equal, disturb_random_states

PLAIN = BatchConfig(max_duration=20, workers=0, spec_augment=SpecAugmentConfig(enabled=False))


@pytest.fixture(scope="module")
def cuts(features: Path) -> CutSet:
    return load_cuts(features, [PART])


@pytest.fixture(scope="module")
def musan(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder in MUSAN's layout: two noises, one of another rate and of two channels, and a file that is not audio."""
    root = tmp_path_factory.mktemp("musan")
    write_tone(root / "noise" / "free-sound" / "noise-free-sound-0000.wav", seconds=0.7)
    write_tone(root / "music" / "fma" / "music-fma-0000.flac", seconds=9.0, rate=44100, channels=2)
    (root / "noise" / "free-sound" / "ANNOTATIONS").write_text("noise-free-sound-0000 a tone\n")
    return str(root)


@pytest.fixture(scope="module")
def loud(musan: str) -> BatchConfig:
    """Noise and reverberation."""
    noise = NoiseConfig(musan, snr=(0.0, 10.0), probability=0.7)
    return BatchConfig(max_duration=20, workers=0, noise=noise, reverb=ReverbConfig(probability=0.5))


def test_features_computed_from_audio_equal_the_stored_ones(cuts: CutSet) -> None:
    computed = list(training_batches(cuts, replace(PLAIN, from_audio=True), 0))
    stored = list(training_batches(cuts, PLAIN, 0))
    assert [batch.ids for batch in computed] == [batch.ids for batch in stored]
    for one, other in zip(computed, stored, strict=True):
        assert one.lengths.tolist() == other.lengths.tolist()
        np.testing.assert_allclose(one.features, other.features, atol=0.05)  # lilcom is lossy
        assert not np.array_equal(one.features, other.features)


@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_epoch_has_the_same_noise_bit_for_bit(cuts: CutSet, loud: BatchConfig, workers: int) -> None:
    whole = list(training_batches(cuts, loud, 4))
    disturb_random_states()
    assert_equal(list(training_batches(cuts, replace(loud, workers=workers), 4, [3, 1])), [whole[3], whole[1]])


def test_epochs_differ_in_noise(cuts: CutSet, loud: BatchConfig) -> None:
    config = replace(loud, max_duration=1000, num_buckets=1, spec_augment=SpecAugmentConfig(enabled=False))
    (first,), (second,) = (training_batches(cuts, config, epoch) for epoch in (0, 1))
    (plain,) = training_batches(cuts, replace(PLAIN, max_duration=1000, num_buckets=1), 0)
    rows = [[batch.ids.index(cut.id) for batch in (plain, first, second)] for cut in cuts]
    same = [
        (bool((plain.features[p] == first.features[f]).all()), first.features[f], second.features[s])
        for p, f, s in rows
    ]
    assert 0 < sum(unchanged for unchanged, _, _ in same) < len(same) / 2  # 0.3 * 0.5 are left alone
    assert sum(not np.array_equal(one, other) for _, one, other in same) > len(same) / 2


def test_reverberation_does_not_change_spec_augment_masks(cuts: CutSet) -> None:
    """Masks have random states of their own."""
    spec_augment = SpecAugmentConfig(time_warp=0.0, time_masks=0, probability=1.0)
    masked = replace(PLAIN, spec_augment=spec_augment)
    dry = training_batches(cuts, masked, 0)
    wet = training_batches(cuts, replace(masked, reverb=ReverbConfig(probability=1.0)), 0)
    for one, other in zip(dry, wet, strict=True):
        for length, *matrices in zip(one.lengths, one.features, other.features, strict=True):
            hidden, also = ((matrix[:length].std(dim=0) < 1e-4) for matrix in matrices)
            assert hidden.any()
            assert hidden.equal(also)


@given(seed=st.integers(0, 99), snr=st.floats(-10, 40), seconds=st.floats(0.2, 12.0))
def test_noise_has_the_requested_level_over_the_whole_utterance(
    musan: str, seed: int, snr: float, seconds: float
) -> None:
    speech = np.random.default_rng(seed).normal(size=(1, round(16000 * seconds))).astype(np.float32)
    with random_state(seed):
        noise = add_noise(speech, 16000, NoiseConfig(musan, snr=(snr, snr))) - speech
    assert noise.shape == speech.shape
    assert 10 * np.log10(np.mean(speech**2) / np.mean(noise**2)) == pytest.approx(snr, abs=0.05)
    windows = noise[0, : noise.size // 800 * 800].reshape(-1, 800)
    assert (np.abs(windows).max(axis=1) > 0).all()  # a short noise is repeated


def test_recorded_impulse_response_is_convolved(tmp_path: Path) -> None:
    room = np.zeros(800, dtype=np.float32)
    room[[100, 300, 700]] = [0.9, 0.5, -0.25]
    soundfile.write(tmp_path / "rir.wav", room, 16000, subtype="FLOAT")
    speech = np.random.default_rng(0).normal(scale=0.1, size=(1, 8000)).astype(np.float32)
    reverberant = add_reverberation(speech, 16000, ReverbConfig(1.0, str(tmp_path)))
    expected = scipy.signal.convolve(speech[0], room)[100:8100]  # the direct sound stays where it was
    expected *= np.sqrt(np.mean(speech**2) / np.mean(expected**2))
    np.testing.assert_allclose(reverberant[0], expected, atol=1e-5)


@pytest.mark.parametrize("time", [0.2, 0.5])
def test_simulated_room_decays_in_its_reverberation_time(time: float) -> None:
    """Schroeder's backward integration, from -5 to -25 dB, as reverberation times are measured (ISO 3382)."""
    with random_state(1):
        room = impulse_response(time, distance=50.0, rate=16000)[0]
    decay = 10 * np.log10(np.cumsum(room[::-1] ** 2)[::-1] / np.sum(room**2))
    first, last = (np.argmax(decay < level) for level in (-5, -25))
    assert 3 * (last - first) / 16000 == pytest.approx(time, rel=0.15)


def test_reverberation_increases_with_distance(tmp_path: Path) -> None:
    with random_state(1):
        near, far = (impulse_response(0.5, distance, 16000)[0] for distance in (1.0, 2.0))
    ratio = np.sum(far[1:] ** 2) / np.sum(near[1:] ** 2)
    assert ratio == pytest.approx(4.0, rel=1e-3)


def test_folder_without_audio_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no audio in this folder; there should be files"):
        recordings_in(str(tmp_path))
    (tmp_path / "a.wav").write_bytes(b"not a sound")
    with pytest.raises(UserError, match=r"a\.wav: .*convert it to FLAC or WAV"):
        recordings_in(str(tmp_path))


def test_missing_audio_is_named_in_training(cuts: CutSet) -> None:
    cut = next(iter(cuts))
    source = fastcopy(cut.recording.sources[0], source="/nowhere/gone.flac")
    cut = fastcopy(cut, recording=fastcopy(cut.recording, sources=[source]))
    with pytest.raises(UserError, match=r"/nowhere/.*: cannot be decoded"):
        list(training_batches(CutSet.from_cuts([cut]), replace(PLAIN, from_audio=True), 0))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: NoiseConfig(snr=(20, 5)), "the lower limit must come first"),
        (lambda: NoiseConfig(probability=2), "noise.probability is 2"),
        (lambda: ReverbConfig(probability=-1), "reverb.probability is -1"),
        (lambda: ReverbConfig(distance=(0, 1)), r"reverb.distance is \(0, 1\)"),
    ],
)
def test_wrong_options_are_named(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        wrong()

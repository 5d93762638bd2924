"""Decoding of audio files by libsndfile: lengths, channels, resampling, errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import Recording
from lhotse.audio.backend import LibsndfileBackend, get_current_audio_backend

from augmem.audio import AudioFile
from augmem.corpus import compute_features
from augmem.corpus.audio import AudioError, describe_audio, read_recording, read_samples
from augmem.errors import UserError
from augmem.features import FeatureConfig
from tests.corpus.corpora import FIXTURE, PART, encode_with_libsndfile, write_tone


def test_libsndfile_is_the_only_backend() -> None:
    (backend,) = get_current_audio_backend().backends
    assert isinstance(backend, LibsndfileBackend)


def test_file_is_decoded_once_for_all_speeds(manifests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = []

    class Counting(AudioFile):
        def __init__(self, path: str) -> None:
            paths.append(path)
            super().__init__(path)

    monkeypatch.setattr("augmem.corpus.audio.AudioFile", Counting)
    compute_features(FeatureConfig(), manifests / PART, tmp_path / PART, perturb=True)
    assert len(paths) == len(set(paths)) == 29


def test_changed_file_is_decoded_again(tmp_path: Path) -> None:
    for seconds in (1.0, 2.0):
        write_tone(tmp_path / "a.wav", seconds)
        assert len(read_recording(tmp_path / "a.wav", 16000)) == 16000 * seconds


def test_opus_has_the_length_and_rate_of_the_original(tmp_path: Path) -> None:
    samples, rate = soundfile.read(FIXTURE / "flac" / "jfk.flac", dtype="int16")
    (tmp_path / "a.opus").write_bytes(encode_with_libsndfile(samples, rate))
    described = describe_audio(tmp_path / "a.opus", "a")
    assert (described.num_samples, described.sampling_rate) == (len(samples), rate)
    decoded = Recording.from_file(tmp_path / "a.opus").load_audio()[0]
    np.testing.assert_array_equal(decoded, soundfile.read(tmp_path / "a.opus", dtype="float32")[0])
    assert np.corrcoef(decoded, samples)[0, 1] > 0.9


def test_channels_are_averaged_and_resampled(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wave = 0.1 * np.sin(np.arange(8000) / 5)
    soundfile.write(tmp_path / "a.wav", np.stack([wave, np.zeros(8000)], axis=1), 8000)
    soundfile.write(tmp_path / "b.wav", wave / 2, 8000)
    averaged, expected = (read_recording(tmp_path / name, 16000) for name in ("a.wav", "b.wav"))
    assert averaged.shape == (16000,)
    np.testing.assert_allclose(averaged, expected, atol=1e-4)
    assert caplog.messages == [f"{tmp_path}/a.wav: 2 channels, averaged"]


def test_sphere_is_read_without_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lhotse would give the name to a shell, with sph2pipe."""
    monkeypatch.chdir(tmp_path)
    samples = np.random.default_rng(0).normal(scale=0.1, size=16000)
    path = tmp_path / "a;echo x>>y;.sph"
    soundfile.write(path, samples, 16000, format="NIST", subtype="PCM_16")
    assert len(read_recording(path, 16000)) == len(Recording.from_file(path).load_audio()[0]) == 16000
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(8000), "digital silence"),
        (np.full(8000, 0.25), "digital silence"),
        (20000 * np.sin(np.arange(8000)), "divide samples by 32768"),
        (np.where(np.arange(8000) == 7, np.nan, 0.1), "not all finite"),
    ],
)
def test_unusable_signals_are_named(tmp_path: Path, samples: np.ndarray, message: str) -> None:
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    with pytest.raises(AudioError, match=rf"a\.wav: .*{message}"):
        read_samples(describe_audio(tmp_path / "a.wav", "a").to_cut())


def test_file_that_is_not_audio_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"this is not audio")
    with pytest.raises(UserError, match=r"a\.wav: .*convert it to FLAC or WAV"):
        describe_audio(tmp_path / "a.wav", "a")
    with pytest.raises(UserError, match=r"a\.wav: cannot be read as audio"):
        read_recording(tmp_path / "a.wav", 16000)

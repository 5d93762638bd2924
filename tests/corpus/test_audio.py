"""Decoding of audio files by libsndfile: lengths, channels, resampling, errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import Recording
from lhotse.audio.backend import LibsndfileBackend, get_current_audio_backend

from augmem.corpus import compute_features
from augmem.corpus.audio import describe_audio, read_recording
from augmem.errors import UserError
from augmem.features import FeatureConfig
from tests.corpus.corpora import FIXTURE, PART, encode_with_libsndfile, write_tone


def test_libsndfile_is_the_only_backend() -> None:
    (backend,) = get_current_audio_backend().backends
    assert isinstance(backend, LibsndfileBackend)


def test_file_is_decoded_once_for_all_speeds(manifests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, paths = LibsndfileBackend.read_audio, []

    def count(self: LibsndfileBackend, path: str, *options: float) -> tuple[np.ndarray, int]:
        paths.append(path)
        return decode(self, path, *options)

    monkeypatch.setattr(LibsndfileBackend, "read_audio", count)
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


def test_first_channel_is_read_and_resampled(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav", rate=8000, channels=2)
    assert read_recording(tmp_path / "a.wav", 16000).shape == (16000,)


def test_file_that_is_not_audio_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"this is not audio")
    with pytest.raises(UserError, match=r"a\.wav: .*convert it to FLAC or WAV"):
        describe_audio(tmp_path / "a.wav", "a")
    with pytest.raises(UserError, match=r"a\.wav: audio cannot be decoded"):
        read_recording(tmp_path / "a.wav", 16000)

"""Features: equal to kaldi-native-fbank, with any number of processes, speed perturbation, damaged audio."""

from __future__ import annotations

import gzip
from pathlib import Path

import kaldi_native_fbank as knf
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from augmem.corpus import (
    CorpusConfig,
    StorageConfig,
    compute_features,
    extractor,
    feature_statistics,
    features_of_file,
    load_cuts,
    prepare_corpus,
)
from augmem.corpus.audio import read_samples
from augmem.errors import UserError
from augmem.features import FeatureConfig
from augmem.files import explain_full_disk, read_json
from augmem.skipped import read_skipped
from tests.corpus.corpora import FIXTURE, PART, prepare_intervals, write_chapter, write_tone

TINY = "train-tiny"


def online(config: FeatureConfig, samples: np.ndarray, chunk: int) -> np.ndarray:
    """Features by kaldi-native-fbank, fed `chunk` samples at a time: (T, F)."""
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = config.sampling_rate
    options.frame_opts.frame_shift_ms = 1000 * config.frame_shift
    options.frame_opts.frame_length_ms = 1000 * config.frame_length
    options.frame_opts.dither = config.dither
    options.frame_opts.snip_edges = False
    options.mel_opts.num_bins = config.num_mel_bins
    options.mel_opts.low_freq = config.low_freq
    options.mel_opts.high_freq = config.high_freq
    fbank = knf.OnlineFbank(options)
    for start in range(0, len(samples), chunk):
        fbank.accept_waveform(config.sampling_rate, samples[start : start + chunk].tolist())
    fbank.input_finished()
    return np.stack([fbank.get_frame(t) for t in range(fbank.num_frames_ready)])


def prepare_tiny(root: Path, spoil: dict[str, bytes | None]) -> Path:
    """A chapter of three lines whose audio is changed after the manifests were made; return the part's manifests."""
    transcript = write_chapter(root / "tree", {f"7-1-000{n}": "GOOD MORNING" for n in range(3)})
    config = CorpusConfig("librispeech", str(root / "tree"), dev=(TINY,), allow_overlap=True)
    prepare_corpus(config, root / "download", root / "manifests")
    for id, content in spoil.items():
        audio = transcript.parent / f"{id}.flac"
        audio.unlink() if content is None else audio.write_bytes(content)
    return root / "manifests" / TINY


def test_equal_to_the_online_extractor_on_real_speech() -> None:
    config = FeatureConfig()
    for path in sorted((FIXTURE / "flac").glob("*.flac"))[::5]:
        samples, rate = soundfile.read(path, dtype="float32")
        offline = extractor(config).extract(samples, rate)
        np.testing.assert_allclose(offline, online(config, samples, chunk=1601), atol=2e-3)


@given(
    samples=st.integers(200, 9000),
    chunk=st.integers(50, 4000),
    rate=st.sampled_from([8000, 11025, 16000]),
    bins=st.sampled_from([40, 80]),
)
def test_equal_to_the_online_extractor_on_noise(samples: int, chunk: int, rate: int, bins: int) -> None:
    config = FeatureConfig(sampling_rate=rate, num_mel_bins=bins)
    noise = np.random.default_rng(samples).normal(scale=0.1, size=samples).astype(np.float32)
    offline = extractor(config).extract(noise, rate)
    by_chunk = online(config, noise, chunk)
    assert offline.shape == by_chunk.shape
    np.testing.assert_allclose(offline, by_chunk, atol=5e-3)


def test_stored_features_equal_those_of_the_audio(features: Path) -> None:
    config = FeatureConfig()
    cuts = load_cuts(features, [PART])
    assert len(cuts) == 29
    for cut in list(cuts)[::7]:
        samples, _ = soundfile.read(cut.recording.sources[0].source, dtype="float32")
        stored = cut.load_features()
        assert stored.shape == (cut.num_frames, 80)
        np.testing.assert_allclose(stored, online(config, samples, 16000), atol=0.05)  # lilcom is lossy


def test_config_is_stored_with_the_features(features: Path) -> None:
    assert FeatureConfig(**read_json(features / PART / "feature_config.json")) == FeatureConfig()


def test_features_can_be_moved(manifests: Path, tmp_path: Path) -> None:
    compute_features(FeatureConfig(), manifests / PART, tmp_path / "here" / PART)
    (tmp_path / "here").rename(tmp_path / "there")
    assert all(np.isfinite(cut.load_features()).all() for cut in load_cuts(tmp_path / "there", [PART], in_memory=False))


@pytest.mark.parametrize(("far", "form"), [(False, "archive"), (True, "shar")])
def test_number_and_place_of_processes_change_nothing(
    manifests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str, far: bool, form: str
) -> None:
    monkeypatch.setattr("augmem.corpus.feature_store._MIN_CUTS_FOR_PROCESSES", 1)
    storage = StorageConfig(form, file_cuts=4)
    for jobs in (1, 2):
        address = scheduler if far and jobs == 2 else None
        folder = tmp_path / f"by_{jobs}" / PART
        compute_features(FeatureConfig(), manifests / PART, folder, jobs, scheduler=address, storage=storage)
    files = {
        jobs: {path.relative_to(folder): content(path) for path in folder.rglob("*.*")}
        for jobs, folder in ((jobs, tmp_path / f"by_{jobs}") for jobs in (1, 2))
    }
    assert files[1] == files[2]
    assert len(files[1]) == {"archive": 8, "shar": 2 * 8}[form] + 3


def content(path: Path) -> bytes:
    """Return the content of a file, decompressed, since gzip writes the time into its header."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def test_speed_perturbation(manifests: Path, tmp_path: Path) -> None:
    compute_features(FeatureConfig(), manifests / PART, tmp_path / PART, perturb=True)
    cuts = {cut.id: cut for cut in load_cuts(tmp_path, [PART])}
    assert len(cuts) == 3 * 29
    for id in ("1-1-0000", "8-1-0003"):
        for speed in (0.9, 1.1):
            perturbed = cuts[f"{id}_sp{speed}"]
            assert perturbed.num_frames == pytest.approx(cuts[id].num_frames / speed, abs=1.5)
            assert perturbed.supervisions[0].text == cuts[id].supervisions[0].text
            assert len(perturbed.load_features()) == perturbed.num_frames


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (11025, 1), (44100, 1), (48000, 1)])
def test_any_rate_is_resampled(tmp_path: Path, rate: int, channels: int) -> None:
    """A tone of 440 Hz has its energy in the same mel bin at any sampling rate."""
    transcript = write_chapter(tmp_path / "tree", {"7-1-0000": "A", "7-1-0001": "A"})
    (transcript.parent / "7-1-0001.flac").unlink()
    write_tone(transcript.parent / "7-1-0001.wav", rate=rate, channels=channels)
    config = CorpusConfig("librispeech", str(tmp_path / "tree"), dev=(TINY,), allow_overlap=True)
    prepare_corpus(config, tmp_path, tmp_path / "manifests")
    compute_features(FeatureConfig(), tmp_path / "manifests" / TINY, tmp_path / TINY)
    native, resampled = (cut.load_features() for cut in load_cuts(tmp_path, [TINY]))
    assert native.shape == resampled.shape == (100, 80)
    assert (native[10:90].argmax(1) == resampled[10:90].argmax(1)).all()


@pytest.mark.parametrize("content", [None, b"", b"not a sound", "half", "flipped"])
def test_audio_that_cannot_be_decoded_is_skipped_and_named(tmp_path: Path, content: bytes | str | None) -> None:
    manifests = prepare_tiny(tmp_path, {})
    audio = tmp_path / "tree" / TINY / "7" / "1" / "7-1-0001.flac"
    whole = audio.read_bytes()
    spoilt = {"half": whole[: len(whole) // 2], "flipped": whole[:5000] + bytes(3000) + whole[8000:]}
    audio.unlink()
    if content is not None:
        audio.write_bytes(spoilt[content] if isinstance(content, str) else content)
    compute_features(FeatureConfig(), manifests, tmp_path / TINY)
    (skip,) = read_skipped(tmp_path / TINY / "skipped.tsv")
    assert (skip.id, skip.reason) == ("7-1-0001", "unreadable audio")
    assert str(audio) in skip.detail
    assert "fetch it again" in skip.detail
    assert [cut.id for cut in load_cuts(tmp_path, [TINY])] == ["7-1-0000", "7-1-0002"]


def test_audio_shorter_than_a_frame_is_skipped_and_named(tmp_path: Path) -> None:
    """Half an analysis window is enough, at any speed; one sample is not."""
    root = tmp_path / "mine"
    lengths = {"click": 1, "tick": 139, "edge": 199, "enough": 200, "frame": 400}
    for name, samples in lengths.items():
        write_tone(root / f"{name}.wav", samples / 16000)
    (root / "train.tsv").write_text("audio\ttext\n" + "".join(f"{name}.wav\tHi\n" for name in lengths))
    prepare_corpus(
        CorpusConfig("folder", str(root), dev=("train",), allow_overlap=True),
        tmp_path / "download",
        tmp_path / "manifests",
    )
    compute_features(FeatureConfig(), tmp_path / "manifests" / "train", tmp_path / "train", perturb=True)
    kept = {cut.id: cut.load_features() for cut in load_cuts(tmp_path, ["train"])}
    assert kept.keys() == {"enough", "enough_sp0.9", "frame", "frame_sp0.9", "frame_sp1.1", "edge_sp0.9"}
    assert all(len(matrix) >= 1 and np.isfinite(matrix).all() for matrix in kept.values())
    skips = read_skipped(tmp_path / "train" / "skipped.tsv")
    assert {skip.reason for skip in skips} == {"too short"}
    assert f"{root}/click.wav: 0.0001 s are shorter than a frame" in skips[0].detail


def test_samples_that_are_not_finite_are_skipped(tmp_path: Path) -> None:
    manifests = prepare_tiny(tmp_path, {})
    audio = tmp_path / "tree" / TINY / "7" / "1" / "7-1-0001.flac"
    soundfile.write(audio, np.full(16000, np.nan), 16000, format="WAV", subtype="FLOAT")
    compute_features(FeatureConfig(), manifests, tmp_path / TINY)
    (skip,) = read_skipped(tmp_path / TINY / "skipped.tsv")
    assert "not all finite" in skip.detail


def test_part_without_usable_audio_is_an_error(tmp_path: Path) -> None:
    manifests = prepare_tiny(tmp_path, {f"7-1-000{n}": b"" for n in range(3)})
    with pytest.raises(UserError, match=r"part train-tiny: no usable audio; \{'unreadable audio': 3\}, e\.g\. /"):
        compute_features(FeatureConfig(), manifests, tmp_path / TINY)


def test_missing_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"prepare part nowhere first \(stage corpus\)"):
        compute_features(FeatureConfig(), tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"part nowhere has no features yet.*\(stage features\)"):
        load_cuts(tmp_path, ["nowhere"])


def test_full_disk_is_explained(manifests: Path, tmp_path: Path) -> None:
    """/dev/full is a disk on which every write fails for lack of space."""
    (tmp_path / PART).mkdir()
    (tmp_path / PART / "feats-00000.lca").symlink_to("/dev/full")
    full = pytest.raises(OSError, match=r"the disk of .* is full; finished results are safe: free some space")
    with full, explain_full_disk(tmp_path):
        compute_features(FeatureConfig(), manifests / PART, tmp_path / PART)


@pytest.mark.parametrize("in_memory", [False, True])
def test_interval_of_a_recording_keeps_its_audio(tmp_path: Path, in_memory: bool) -> None:
    """Noise is added to the audio of the cut, and sessions are sorted by its start."""
    compute_features(FeatureConfig(), prepare_intervals(tmp_path), tmp_path / "train")
    for cut, start in zip(load_cuts(tmp_path, ["train"], in_memory), (0.5, 3.0), strict=True):
        assert cut.start == start
        expected = extractor(FeatureConfig()).extract(read_samples(cut), 16000)
        np.testing.assert_allclose(cut.load_features(), expected, atol=0.05)  # lilcom is lossy


def test_statistics_are_those_of_all_frames(features: Path) -> None:
    cuts = load_cuts(features, [PART])
    frames = torch.cat([torch.from_numpy(cut.load_features()) for cut in cuts]).double()
    mean, std = feature_statistics(cuts)
    assert mean.dtype == std.dtype == torch.float64
    torch.testing.assert_close(mean, frames.mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(std, frames.std(0, unbiased=False), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_mel_bins": 0}, "features.num_mel_bins is 0; it must be positive"),
        ({"dither": -1.0}, "features.dither is -1.0; it must be at least 0"),
        ({"high_freq": 9000.0}, "between 0 and 8000.0 Hz"),
        ({"low_freq": 7900.0}, r"\(7600.0 Hz\)"),
        ({"band": 9000.0}, "features.band is 9000.0; it must be from 0 to 8000 Hz"),
        ({"band": 300.0}, r"\(-100.0 Hz\)"),
    ],
)
def test_wrong_options_are_named(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        FeatureConfig(**changes)


def test_a_file_shorter_than_a_window_is_refused(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "a.wav", 0.018)
    with pytest.raises(UserError, match=r"a\.wav: 0\.018 s, at least 0\.025 s are needed"):
        features_of_file(path, FeatureConfig())
    assert len(features_of_file(write_tone(path, 0.025), FeatureConfig())) > 0

"""Features as Lhotse Shar: read by Lhotse, same batches as from archives, damaged shards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lhotse import CutSet

from augmem.corpus import (
    BatchConfig,
    StorageConfig,
    compute_features,
    evaluation_batches,
    extractor,
    feature_statistics,
    load_cuts,
    training_batches,
)
from augmem.corpus.audio import read_samples
from augmem.errors import UserError
from augmem.features import FeatureConfig
from augmem.skipped import read_skipped
from tests.corpus.corpora import PART, prepare_intervals
from tests.corpus.test_batches import assert_equal, disturb_random_states
from tests.corpus.test_feature_store import TINY, prepare_tiny

CHUNK = 500  # frames that an archive compresses together


@pytest.fixture(scope="module")
def shar(manifests: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 29 utterances in three shards."""
    folder = tmp_path_factory.mktemp("shar")
    compute_features(FeatureConfig(), manifests / PART, folder / PART, storage=StorageConfig("shar", file_cuts=10))
    return folder


def shards(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "shar").iterdir())


def test_shar_is_read_by_lhotse(shar: Path) -> None:
    assert shards(shar / PART) == [
        *(f"cuts.00000{n}.jsonl.gz" for n in range(3)),
        *(f"features.00000{n}.tar" for n in range(3)),
    ]
    ours = list(load_cuts(shar, [PART], in_memory=False))
    theirs = list(CutSet.from_shar(in_dir=shar / PART / "shar"))
    assert [cut.id for cut in ours] == [cut.id for cut in theirs]
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(our.load_features(), their.load_features())
        assert our.supervisions == their.supervisions


def test_features_equal_those_of_archives(features: Path, shar: Path) -> None:
    """Where an archive starts a second chunk, both are within half a quantisation step of the computed features."""
    one, other = (load_cuts(root, [PART], in_memory=False) for root in (features, shar))
    assert [cut.id for cut in one] == [cut.id for cut in other]
    lengths = [cut.num_frames for cut in one]
    assert min(lengths) <= CHUNK < max(lengths)
    for archived, sharded in zip(one, other, strict=True):
        if archived.num_frames <= CHUNK:
            np.testing.assert_array_equal(archived.load_features(), sharded.load_features())
            continue
        computed = extractor(FeatureConfig()).extract(read_samples(archived), 16000)
        for cut in (archived, sharded):
            np.testing.assert_allclose(cut.load_features(), computed, rtol=0, atol=1 / 64 + 1e-5)


@pytest.mark.parametrize("session_cuts", [1, 3])
def test_batches_equal_those_of_archives(features: Path, shar: Path, session_cuts: int) -> None:
    """Order and masks are equal, also in a resumed run with a worker."""
    config = BatchConfig(max_duration=15, num_buckets=3, workers=0, session_cuts=session_cuts)
    archived, sharded = (
        load_cuts(root, [PART], in_memory=False).filter(lambda cut: cut.num_frames <= CHUNK).to_eager()
        for root in (features, shar)
    )
    whole = list(training_batches(archived, config, epoch=2))
    assert len(whole) > 3
    assert_equal(whole, list(training_batches(sharded, config, epoch=2)))
    disturb_random_states()
    rest = training_batches(sharded, replace(config, workers=1), 2, range(2, len(whole)))
    assert_equal(whole[2:], list(rest))
    assert_equal(list(evaluation_batches(archived, 20)), list(evaluation_batches(sharded, 20)))


def test_interval_of_a_recording_keeps_its_audio(tmp_path: Path) -> None:
    """Cuts in Shar start at 0 and have no audio; the cuts for training keep their start."""
    compute_features(FeatureConfig(), prepare_intervals(tmp_path), tmp_path / "train", storage=StorageConfig("shar"))
    ours = load_cuts(tmp_path, ["train"], in_memory=False)
    theirs = CutSet.from_shar(in_dir=tmp_path / "train" / "shar")
    for our, their in zip(ours, theirs, strict=True):
        expected = extractor(FeatureConfig()).extract(read_samples(our), 16000)
        np.testing.assert_allclose(our.load_features(), expected, atol=1 / 64 + 1e-5)
        np.testing.assert_array_equal(our.load_features(), their.load_features())
        assert not their.has_recording


def test_shard_without_usable_audio_is_omitted(tmp_path: Path) -> None:
    manifests = prepare_tiny(tmp_path, {"7-1-0001": b"not a sound"})
    compute_features(FeatureConfig(), manifests, tmp_path / TINY, storage=StorageConfig("shar", file_cuts=1))
    assert len(read_skipped(tmp_path / TINY / "skipped.tsv")) == 1
    kept = ["7-1-0000", "7-1-0002"]
    assert [cut.id for cut in load_cuts(tmp_path, [TINY])] == kept
    assert [cut.id for cut in CutSet.from_shar(in_dir=tmp_path / TINY / "shar")] == kept


@pytest.mark.parametrize("form", ["archive", "shar"])
def test_missing_and_truncated_files_are_named(tmp_path: Path, form: str) -> None:
    compute_features(FeatureConfig(), prepare_tiny(tmp_path, {}), tmp_path / TINY, storage=StorageConfig(form))
    name = {"archive": "feats-00000.lca", "shar": "shar/features.000000.tar"}[form]
    file = tmp_path / TINY / name
    whole = file.read_bytes()
    remedy = rf"copy the file again, or remove {tmp_path / TINY} and compute .* \(stage features\)"
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=rf"{name}: {len(whole) // 2} bytes, \d+ are needed: truncated; {remedy}"):
        load_cuts(tmp_path, [TINY])
    file.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name}: no such file, but part {TINY} needs it; {remedy}"):
        load_cuts(tmp_path, [TINY])


@pytest.mark.parametrize("form", ["archive", "shar"])
@pytest.mark.parametrize("use", ["memory", "statistics", "batches"])
def test_damage_inside_a_file_is_named(tmp_path: Path, form: str, use: str) -> None:
    """The file has the right length; every reader names it."""
    compute_features(FeatureConfig(), prepare_tiny(tmp_path, {}), tmp_path / TINY, storage=StorageConfig(form))
    second = list(load_cuts(tmp_path, [TINY], in_memory=False))[1]
    begin, length = map(int, second.features.storage_key.split(","))
    file = Path(second.features.storage_path)
    content = bytearray(file.read_bytes())
    content[begin : begin + length] = bytes(length)
    file.write_bytes(content)
    remedy = rf"copy the file again, or remove {tmp_path / TINY} and compute .* \(stage features\)"
    with pytest.raises(UserError, match=rf"^{file}: features of {second.id} are damaged \(lilcom.*\); {remedy}"):
        cuts = load_cuts(tmp_path, [TINY], in_memory=use == "memory")
        if use == "statistics":
            feature_statistics(cuts)
        else:
            list(training_batches(cuts, BatchConfig(num_buckets=1, workers=0), 0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"form": "zip"}, "storage.form is 'zip'; it must be one of archive, shar"),
        ({"file_cuts": 0}, "storage.file_cuts is 0; it must be at least 1"),
    ],
)
def test_wrong_options_are_named(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        StorageConfig(**changes)

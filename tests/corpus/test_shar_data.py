"""Lhotse Shar as a corpus: written by Lhotse, complete and damaged."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from lhotse import CutSet
from lhotse.shar import SharWriter

from augmem.cli import parse_and_run
from augmem.corpus import CorpusConfig, prepare_corpus
from augmem.corpus.audio import read_samples
from augmem.corpus.manifests import read_cuts
from augmem.errors import UserError
from tests.corpus.corpora import prepare_intervals


@pytest.fixture
def shar(tmp_path: Path) -> Path:
    """Two intervals of one recording, in a shard each."""
    (tmp_path / "shar" / "train").mkdir(parents=True)
    with SharWriter(tmp_path / "shar" / "train", {"recording": "flac"}, shard_size=1) as writer:
        for cut in original(tmp_path):
            writer.write(cut)
    return tmp_path / "shar"


def original(root: Path) -> CutSet:
    return read_cuts(prepare_intervals(root))


def imported(shar: Path) -> CutSet:
    target = shar.parent / "imported"
    prepare_corpus(
        CorpusConfig("shar", str(shar), dev=("train",), allow_overlap=True), target / "download", target / "manifests"
    )
    return read_cuts(target / "manifests" / "train")


def test_utterances_equal_those_written(shar: Path, tmp_path: Path) -> None:
    for here, there in zip(imported(shar), original(tmp_path), strict=True):
        assert here.id == there.id
        assert here.supervisions[0].text == there.supervisions[0].text
        np.testing.assert_allclose(read_samples(here), read_samples(there), atol=2**-15)


def test_validation_names_shards_and_removes_its_files(shar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(shar.rglob("*"))
    arguments = ["validate", str(shar), "--corpus", "shar"]
    assert parse_and_run(arguments) == 0
    assert capsys.readouterr().out == "part train: no problems found\n"
    assert parse_and_run([*arguments, "--shortest", "9"]) == 1
    assert capsys.readouterr().out.count("too short") == 2
    shard = shar / "train" / "recording.000001.tar"
    with tarfile.open(shard) as archive:
        audio = next(member for member in archive if member.name.endswith(".flac"))
    content = bytearray(shard.read_bytes())
    content[audio.offset_data : audio.offset_data + audio.size] = bytes(audio.size)
    shard.write_bytes(content)
    assert parse_and_run(arguments) == 1
    output = capsys.readouterr().out
    assert output.startswith(f"{shard.with_suffix('')}/000000: ") and "(unreadable audio: b)" in output
    assert sorted(shar.rglob("*")) == before


def test_two_parts_of_one_name_are_an_error(shar: Path) -> None:
    shutil.copytree(shar / "train", shar / "other" / "train")
    with pytest.raises(UserError, match=r"shar/train: another part of this name is .*other/train; rename one"):
        imported(shar)


def test_damaged_shard_is_named(shar: Path) -> None:
    first, second = (shar / "train" / f"recording.00000{n}.tar" for n in (0, 1))
    whole = second.read_bytes()
    second.write_bytes(first.read_bytes())
    with pytest.raises(
        UserError, match=r"recording\.000001\.tar: a where .*cuts\.000001\.jsonl\.gz has b: .*fetch both"
    ):
        imported(shar)
    second.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"recording\.000001\.tar: cannot be read \(.*\): truncated; fetch it again"):
        imported(shar)
    second.write_bytes(whole.replace(b'{"id"', b'{"id\0'))
    with pytest.raises(UserError, match=r"recording\.000001\.tar: cannot be read"):
        imported(shar)
    with tarfile.open(second, "w"):
        pass
    with pytest.raises(UserError, match=r"recording\.000001\.tar: its end where .* has b: truncated"):
        imported(shar)
    second.unlink()
    with pytest.raises(
        UserError, match=r"recording\.000001\.tar: no such file, but .*cuts\.000001\.jsonl\.gz is there"
    ):
        imported(shar)
    with pytest.raises(FileNotFoundError, match=r"no Lhotse Shar; there should be <part>/cuts\.000000\.jsonl\.gz"):
        imported(shar.parent / "manifests")

"""The carried corpus: unpacking, checksums, damaged archives."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from augmem.corpus.carried import CARRIED_PARTS, CHECKSUMS, extract_part, unpack_part
from augmem.errors import UserError
from augmem.files import sha256_file

PART = "dev-held"


@pytest.fixture
def copy(carried: Path, tmp_path: Path) -> Path:
    """A carried corpus that a test may damage."""
    return Path(shutil.copytree(carried, tmp_path / "carried"))


def test_unpacked_part_has_the_transcripts_and_audio_of_the_tree(
    carried: Path, mini_tree: Path, tmp_path: Path
) -> None:
    for part in CARRIED_PARTS.all():
        folder = unpack_part(part, tmp_path, carried)
        expected = {path.relative_to(mini_tree / part).with_suffix("") for path in (mini_tree / part).rglob("*.*")}
        assert {path.relative_to(folder).with_suffix("") for path in folder.rglob("*.*")} - {
            Path(".sha256")
        } == expected
        for transcript in folder.rglob("*.trans.txt"):
            original = mini_tree / part / transcript.relative_to(folder)
            assert transcript.read_bytes() == original.read_bytes()


def test_unpacked_part_is_reused(carried: Path, tmp_path: Path) -> None:
    times = []
    for _ in range(2):
        folder = unpack_part(PART, tmp_path, carried)
        times.append({path: path.stat().st_mtime_ns for path in folder.rglob("*")})
    assert times[0] == times[1]


def test_other_content_replaces_an_unpacked_part(carried: Path, copy: Path, tmp_path: Path) -> None:
    unpack_part(PART, tmp_path / "data", carried)
    with tarfile.open(copy / f"{PART}.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(f"{PART}/new"), io.BytesIO())
    (copy / CHECKSUMS).write_text(f"{sha256_file(copy / f'{PART}.tar')}  {PART}.tar\n")
    folder = unpack_part(PART, tmp_path / "data", copy)
    assert {path.name for path in folder.iterdir()} == {"new", ".sha256"}


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_damaged_archive_is_refused_and_leaves_nothing(copy: Path, tmp_path: Path, damage: str) -> None:
    archive = copy / f"{PART}.tar"
    whole = archive.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    archive.write_bytes({"cut": whole[:middle], "flipped": flipped, "empty": b""}[damage])
    with pytest.raises(UserError, match=rf"{PART}\.tar: damaged or truncated \(\d+ bytes, .*git checkout"):
        unpack_part(PART, tmp_path / "data", copy)
    assert not list((tmp_path / "data").rglob("*"))


@pytest.mark.parametrize("missing", [f"{PART}.tar", CHECKSUMS])
def test_missing_file_is_named_with_the_remedy(copy: Path, tmp_path: Path, missing: str) -> None:
    (copy / missing).unlink()
    with pytest.raises(UserError, match=rf"{missing}: no such file; .*git checkout -- corpora/mini_librispeech"):
        unpack_part(PART, tmp_path / "data", copy)


def test_part_without_a_checksum_is_refused(copy: Path, tmp_path: Path) -> None:
    (copy / CHECKSUMS).write_text("0000  other.tar\n")
    with pytest.raises(UserError, match=rf"{CHECKSUMS}: no line for {PART}\.tar"):
        unpack_part(PART, tmp_path / "data", copy)


def test_remains_of_a_killed_run_are_removed(carried: Path, tmp_path: Path) -> None:
    (tmp_path / f".{PART}.partial-1" / "5").mkdir(parents=True)
    unpack_part(PART, tmp_path, carried)
    assert [path.name for path in tmp_path.iterdir()] == [PART]


@pytest.mark.parametrize("name", ["../escaped", f"{PART}/../../escaped", "/escaped", "other/file"])
def test_member_outside_the_part_is_refused(tmp_path: Path, name: str) -> None:
    archive = tmp_path / f"{PART}.tar"
    with tarfile.open(archive, "w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(UserError, match=rf"{PART}\.tar: member .* is outside {PART}/"):
        extract_part(archive, PART, tmp_path / "data" / PART)
    assert not list(tmp_path.rglob("escaped"))

"""A file is whole or absent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from augmem.files import (
    atomic_path,
    demand_distinct_names,
    explain_full_disk,
    read_json,
    sha256_file,
    sha256_json,
    write_json,
)
from augmem.tensors import save_tensors


def test_an_error_inside_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for name in ("first", "second"):
        with atomic_path(path) as temporary:
            temporary.mkdir()
            (temporary / name).touch()
    assert [item.name for item in path.iterdir()] == ["second"]


def test_json_round_trip_and_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "value.json"
    write_json(path, {"word": "naïve", "count": 2})
    assert read_json(path) == {"word": "naïve", "count": 2}
    path.write_text('{"word": ')
    with pytest.raises(ValueError, match=r"value\.json: not a JSON file"):
        read_json(path)


def test_files_of_one_name_are_refused() -> None:
    demand_distinct_names([Path("a/x.wav"), Path("a/y.wav")])
    with pytest.raises(ValueError, match=r"^b/x\.flac: its results would be called x, as those of a/x\.wav"):
        demand_distinct_names([Path("a/x.wav"), Path("b/x.flac")])


def test_hashes(tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(b"augmented memory" * 100_000)
    assert sha256_file(path) == hashlib.sha256(b"augmented memory" * 100_000).hexdigest()
    assert sha256_json({"a": 1, "b": [2]}) == sha256_json({"b": [2], "a": 1}) != sha256_json({"a": 1, "b": [3]})


SAVERS = [lambda path: save_tensors({"a": torch.zeros(99)}, path), lambda path: path.write_text("a")]


@pytest.mark.parametrize("write", SAVERS)
def test_a_full_disk_is_explained_whatever_writes(write: Callable[[Path], None]) -> None:
    """/dev/full is a disk on which every write fails for lack of space; torch's own writer would abort here."""
    full = pytest.raises(OSError, match=r"the disk that holds exp is full; nothing is lost")
    with full, explain_full_disk(Path("exp")):
        write(Path("/dev/full"))


def test_other_faults_of_the_disk_are_not_called_full(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), explain_full_disk(tmp_path):
        tmp_path.read_text()


def test_saved_tensors_are_what_torch_loads(tmp_path: Path) -> None:
    save_tensors({"a": torch.arange(5), "b": "text"}, tmp_path / "x.pt")
    loaded = torch.load(tmp_path / "x.pt")
    assert loaded["a"].tolist() == [0, 1, 2, 3, 4] and loaded["b"] == "text"

"""Files are complete or absent."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from augmem.errors import UserError
from augmem.files import (
    atomic_path,
    demand_distinct_names,
    explain_full_disk,
    file_name,
    read_json,
    sha256_file,
    sha256_json,
    write_json,
)


def test_an_error_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for name in ("first", "second"):
        with atomic_path(path) as temporary:
            temporary.mkdir()
            (temporary / name).touch()
    assert [item.name for item in path.iterdir()] == ["second"]


def test_json_reads_back_and_a_damaged_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "value.json"
    write_json(path, {"word": "naïve", "count": 2})
    assert read_json(path) == {"word": "naïve", "count": 2}
    path.write_text('{"word": ')
    with pytest.raises(UserError, match=r"value\.json: not a JSON file"):
        read_json(path)


def test_files_with_the_same_name_are_refused() -> None:
    demand_distinct_names([Path("a/x.wav"), Path("a/y.wav")])
    with pytest.raises(UserError, match=r"^b/x\.flac: its results would be named x, like those of a/x\.wav"):
        demand_distinct_names([Path("a/x.wav"), Path("b/x.flac")])


def test_hashes(tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(b"augmented memory" * 100_000)
    assert sha256_file(path) == hashlib.sha256(b"augmented memory" * 100_000).hexdigest()
    assert sha256_json({"a": 1, "b": [2]}) == sha256_json({"b": [2], "a": 1}) != sha256_json({"a": 1, "b": [3]})


def test_a_full_disk_is_reported_with_a_remedy() -> None:
    """Every write to /dev/full fails for lack of space."""
    full = pytest.raises(OSError, match=r"the disk of exp is full; finished results are safe")
    with full, explain_full_disk(Path("exp")):
        Path("/dev/full").write_text("a")


def test_other_errors_of_the_disk_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), explain_full_disk(tmp_path):
        tmp_path.read_text()


def test_file_names_stay_in_their_folder(tmp_path: Path) -> None:
    names = ["../../x", "/etc/x", "a/b", "a%2Fb", "..", ".", "", "a\0b", "a\\b", "é" * 300, "é" * 301]
    made = {file_name(name, ".TextGrid") for name in names} | {file_name(name) for name in names}
    assert len(made) == 2 * len(names), "different names stay different"
    for name in made:
        (tmp_path / name).write_text("")
    assert {path.name for path in tmp_path.iterdir()} == made

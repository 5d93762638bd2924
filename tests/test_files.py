"""A file is whole or absent."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from augmem.files import atomic_path, read_json, sha256_file, sha256_json, write_json


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


def test_hashes(tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(b"augmented memory" * 100_000)
    assert sha256_file(path) == hashlib.sha256(b"augmented memory" * 100_000).hexdigest()
    assert sha256_json({"a": 1, "b": [2]}) == sha256_json({"b": [2], "a": 1}) != sha256_json({"a": 1, "b": [3]})

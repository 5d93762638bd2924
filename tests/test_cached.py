"""Files that are made once on a machine."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from augmem.cached import cache_folder, cached_file
from augmem.files import write_text


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUGMEM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_file_is_made_once_by_several_users_at_the_same_time(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    made, together = [], threading.Barrier(4)

    def make(path: Path) -> None:
        made.append(path)
        write_text(path, "content")

    def use(_: int) -> str:
        together.wait()
        with cached_file("A.txt", make, "making A") as path:
            return path.read_text()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(use, range(4))) == ["content"] * 4
    assert made == [cache / "A.txt"]
    assert caplog.messages == [f"making A, once on this machine; kept in {cache}"]


def test_where_the_folder_cannot_be_written_the_file_is_temporary(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    cache.write_text("a file where the folder should be")
    with cached_file("A.txt", lambda path: write_text(path, "content"), "making A") as path:
        assert path.read_text() == "content" and cache not in path.parents
    assert not path.exists()
    (message,) = caplog.messages
    assert f"{cache} cannot be written" in message and "set $AUGMEM_CACHE" in message


def test_a_failure_leaves_no_file(cache: Path) -> None:
    def fail(path: Path) -> None:
        path.with_suffix(".partial").write_text("half")
        raise MemoryError

    with pytest.raises(MemoryError), cached_file("A.txt", fail, "making A"):
        pass
    assert not (cache / "A.txt").exists()
    with cached_file("A.txt", lambda path: write_text(path, "content"), "making A") as path:
        assert path.read_text() == "content"


def test_the_folder_is_that_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUGMEM_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "augmem"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder() == Path("/home/somebody/.cache/augmem")

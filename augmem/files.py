"""Files that are whole or absent: atomic writes, content hashes that name what was read, names that stay apart."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; give it the real name only once the block has succeeded.

    A reader, or a run that comes after a kill -9, therefore sees either the whole file (or folder) or none.
    An older file of that name is replaced; an older folder is removed first, because rename cannot replace it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial-{os.getpid()}")
    remove(temporary)
    try:
        yield temporary
        sync(temporary)
        if temporary.is_dir():
            remove(path)
        temporary.rename(path)
        sync(path.parent)
    finally:
        remove(temporary)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a ValueError names the file that is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a JSON file ({error}); delete it and run its stage again") from error


def demand_distinct_names(paths: Iterable[Path]) -> None:
    """For results that are told apart by the files' names alone.

    Raises:
        ValueError: two files have one name, whatever their folders and suffixes.
    """
    known: dict[str, Path] = {}
    for path in paths:
        if path.stem in known:
            other = known[path.stem]
            raise ValueError(f"{path}: its results would be called {path.stem}, as those of {other}; rename one")
        known[path.stem] = path


def sha256_file(path: Path) -> str:
    """Hex digest of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """Hex digest of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def remove(path: Path) -> None:
    """Remove a file or folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have the operating system put a file or folder on disk, so that a rename cannot outlive its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def explain_full_disk(folder: Path) -> Iterator[None]:
    """Turn the bare "no space left on device" into a message that says where, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            error.errno,
            f"the disk that holds {folder} is full; nothing is lost: free some space, or choose another "
            "folder, and run the same command again",
        ) from error

"""Folders that are filled once from a file of known content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from augmem.files import atomic_path, remove

DIGEST_FILE = ".sha256"  # written last, into the folder of the unpacked files


def unpacked_digest(folder: Path) -> str | None:
    """Return the SHA-256 of the file that `folder` was unpacked from; None if it has not been unpacked."""
    path = folder / DIGEST_FILE
    return path.read_text(encoding="utf-8") if path.is_file() else None


def unpack_once(folder: Path, digest: str, unpack: Callable[[Path], None]) -> None:
    """Fill a folder atomically, unless it already holds the content of `digest`.

    Args:
        folder: appears when all of it is written; replaced if it was unpacked from other content.
        digest: SHA-256 of the file to unpack.
        unpack: writes the files into the folder it is given.
    """
    if unpacked_digest(folder) == digest:
        return
    for leftover in folder.parent.glob(f".{folder.name}.partial-*"):  # of a killed run
        remove(leftover)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        unpack(temporary)
        (temporary / DIGEST_FILE).write_text(digest, encoding="utf-8")

"""Atomic writes, content hashes and checks of file names."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from augmem.errors import UserError

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_LITTLE_SPACE = 1 << 20  # bytes; a tool that fails with less than this left has filled the disk
_MAX_NAME_LENGTH = 200  # bytes; file systems allow 255, and temporary names are longer


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, and rename it to `path` if the block succeeds.

    Readers, and later runs after a kill, find either the complete file (or folder) or none. An existing file is
    replaced; an existing folder is removed first, because rename cannot replace it.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "words.txt"
        >>> with atomic_path(path) as temporary:
        ...     _ = temporary.write_text("one two")
        >>> path.read_text()
        'one two'
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
    """Read a JSON file.

    Raises:
        UserError: the file is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a JSON file ({error}); delete it and run its stage again") from error


@contextmanager
def explain_damaged_file(path: Path, remedy: str) -> Iterator[None]:
    """Replace the errors of reading a damaged file by a UserError with its name and the remedy.

    Args:
        path: the file, text or JSON, plain or gzip.
        remedy: how to get a complete file.
    """
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: damaged or incomplete ({reason}); {remedy}") from error


def check_distinct_names(paths: Iterable[Path]) -> None:
    """Check that file names without folder and suffix are unique, for results named after them.

    Raises:
        UserError: two files have the same name.
    """
    known: dict[str, Path] = {}
    for path in paths:
        if path.stem in known:
            other = known[path.stem]
            raise UserError(f"{path}: its results would be named {path.stem}, like those of {other}; rename one")
        known[path.stem] = path


def file_name(name: str, suffix: str = "") -> str:
    """Return a file name for a name that a user chose, such as an utterance id: no part of it leaves the folder.

    Slashes, percent signs and zero bytes are written as in URLs; of names too long for a file system, the end is
    replaced by a hash.

    Example:
        >>> file_name("../../x", ".TextGrid")
        '..%2F..%2Fx.TextGrid'
    """
    for character in "%/\\\0":
        name = name.replace(character, f"%{ord(character):02X}")
    if len((name + suffix).encode()) > _MAX_NAME_LENGTH:
        start = name.encode()[: _MAX_NAME_LENGTH // 2].decode(errors="ignore")
        name = f"{start}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return name + suffix if suffix or name not in ("", ".", "..") else f"%{name}"


def sha256_file(path: Path) -> str:
    """Return the hex digest of the content of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the hex digests of files in a folder, by name; hashed in parallel (hashlib releases the GIL)."""
    names = sorted(names)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return dict(zip(names, pool.map(lambda name: sha256_file(folder / name), names), strict=True))


def find_change(folder: Path, hashes: Mapping[str, str]) -> str | None:
    """Compare files with the digests recorded when they were written.

    Args:
        folder: that contains the files.
        hashes: hashes computed by `sha256_files`.

    Returns:
        a description of the first missing or changed file; None if all are as recorded.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_text(folder / "words.txt", "one two")
        >>> hashes = sha256_files(folder, ["words.txt"])
        >>> find_change(folder, hashes)
        >>> write_text(folder / "words.txt", "one tvo")
        >>> str(find_change(folder, hashes)).removeprefix(str(folder))
        '/words.txt: changed since it was written (its sha256 is not the recorded one)'
    """
    for name in sorted(hashes):
        if not (folder / name).is_file():
            return f"{folder / name}: missing"
    found = sha256_files(folder, hashes)
    changed = [name for name, digest in found.items() if digest != hashes[name]]
    if changed:
        return f"{folder / changed[0]}: changed since it was written (its sha256 is not the recorded one)"
    return None


def sha256_json(value: Any) -> str:
    """Return the hex digest of a JSON value; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def remove(path: Path) -> None:
    """Remove a file or folder if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file or folder to disk, so that a rename is not written before the content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def explain_full_disk(folder: Path) -> Iterator[None]:
    """Replace "no space left on device" by a message with the folder and the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL_DISK:
            raise
        raise OSError(
            error.errno,
            f"the disk of {folder} is full; finished results are safe: free some space or choose another folder, "
            "and run the same command again",
        ) from error


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield an empty folder in $TMPDIR, which is removed at the end.

    Raises:
        UserError: the disk of $TMPDIR is full, or no folder can be made there.
    """
    try:
        holder = tempfile.TemporaryDirectory(prefix="augmem-")
    except OSError as error:
        raise UserError(f"no temporary folder: {error}; set TMPDIR to a folder with free space") from error
    with holder as name:
        try:
            yield Path(name)
        except (OSError, UserError) as error:
            if not is_disk_full(Path(name), error):
                raise
            raise UserError(
                f"the disk of $TMPDIR ({Path(name).parent}) is full; free some space or set TMPDIR to another folder, "
                "and run the same command again"
            ) from error


def is_disk_full(folder: Path, error: OSError | UserError) -> bool:
    """Return whether an error is due to the full disk of a folder; tools that write there report other reasons."""
    if isinstance(error, OSError) and error.errno not in _FULL_DISK:
        return False
    return shutil.disk_usage(folder).free < _LITTLE_SPACE

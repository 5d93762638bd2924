"""The file with the options of the runs of an experiment in progress, which they lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


def run_file(exp: Path) -> Path:
    """Return the file of an experiment, beside its folder.

    Example:
        >>> str(run_file(Path("exp/mine")))
        'exp/.mine.run.yaml'
    """
    return exp.parent / f".{exp.name}.run.yaml"


@contextmanager
def open_run(exp: Path) -> Iterator[int]:
    """Yield a descriptor of the file; a lock taken by it lasts until all processes that inherit it have ended."""
    exp.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run_file(exp), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def lock_run(exp: Path, descriptor: int | None = None) -> Iterator[tuple[TextIO, bool]]:
    """Yield the locked file, and whether no other run is in progress.

    Args:
        exp: the experiment folder.
        descriptor: descriptor of the file, opened by the caller, which then keeps the lock; None: the lock ends with
            the block.
    """
    if descriptor is None:
        with open_run(exp) as opened, lock_run(exp, opened) as run:
            yield run
        return
    with os.fdopen(os.dup(descriptor), "r+", encoding="utf-8") as file:
        yield file, _lock(file)


def _lock(file: TextIO) -> bool:
    """Lock the file; return whether no other run is in progress, in which case the lock is exclusive."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        fcntl.flock(file, fcntl.LOCK_SH)  # other runs hold an exclusive lock for a moment only
        return False


def publish(file: TextIO, text: str) -> None:
    """Write the options of a run into its file and let other runs read them."""
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()
    fcntl.flock(file, fcntl.LOCK_SH)

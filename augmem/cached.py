"""Files that are made once on a machine and kept in a folder of the user."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from augmem.files import temporary_folder

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return the folder: `$AUGMEM_CACHE`, or `augmem` in the user's folder of caches."""
    if given := os.environ.get("AUGMEM_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "augmem"


@contextmanager
def cached_file(name: str, make: Callable[[Path], None], task: str) -> Iterator[Path]:
    """Yield a file of the cache folder, made if it does not exist.

    Of several processes that need a file at the same time, one makes it and the others wait. Where the folder cannot be
    written, the file is made in a temporary folder and removed after the block.

    Args:
        name: name of the file, with a hash of the inputs of its content.
        make: writes the file atomically to a path.
        task: what `make` does, for the log.
    """
    path = cache_folder() / name
    try:
        _make_once(path, make, task)
    except OSError as error:
        reason = error.strerror or error
        logger.info("%s again for each use: %s cannot be written (%s); set $AUGMEM_CACHE", task, path.parent, reason)
    else:
        yield path
        return
    with temporary_folder() as temporary:
        make(temporary / name)
        yield temporary / name


def _make_once(path: Path, make: Callable[[Path], None], task: str) -> None:
    """Make a file unless it exists; wait while another process makes it."""
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_file():
            logger.info("%s, once on this machine; kept in %s", task, path.parent)
            make(path)

"""What the disk has to say."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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

"""Packages that an environment lacks, compared with a lock file; imports the standard library only.

`python -m augmem.installation LOCK_FILE` prints the packages to install again, one a line.
"""

from __future__ import annotations

import csv
import os
import re
import sys
from importlib import metadata
from pathlib import Path

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s\\;]+)", re.MULTILINE)


def pipeline() -> str:
    """Return the command that runs all stages: that of the checkout in the current folder, or of the package."""
    return "./run.sh" if Path("run.sh").is_file() else "augmem run"


def locked_versions(lock: Path) -> dict[str, str]:
    """Return name and version of the packages in a lock file."""
    return dict(_PINNED.findall(lock.read_text(encoding="utf-8")))


def damaged_packages(lock: Path) -> list[str]:
    """Return the packages of a lock file that are absent, have another version, or have lost files."""
    return [name for name, version in locked_versions(lock).items() if not _is_complete(name, version)]


def _is_complete(name: str, version: str) -> bool:
    try:
        package = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return package.version == version and not lost_files(package)


def lost_files(package: metadata.Distribution) -> list[str]:
    """Return the recorded files of a package that no longer exist, except compiled Python."""
    root = str(package.locate_file(""))  # strings are faster than Path for many thousands of files
    recorded = (row[0] for row in csv.reader((package.read_text("RECORD") or "").splitlines()))
    return [name for name in recorded if not name.endswith(".pyc") and not os.path.lexists(os.path.join(root, name))]  # noqa: PTH118


if __name__ == "__main__":
    print(*damaged_packages(Path(sys.argv[1])), sep="\n")

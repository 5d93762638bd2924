"""Provenance of results: commit, package versions and machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

REPORTED_PACKAGES = ("torch", "k2", "lhotse", "kaldialign", "kaldilm", "numpy", "augmem")


def provenance() -> dict[str, str]:
    """Return commit, package versions, machine and operating system; "unknown" if a value cannot be determined."""
    return {
        "commit": git_commit(),
        "versions": ", ".join(f"{name} {_version(name)}" for name in ("python", *REPORTED_PACKAGES)),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory()} of memory",
        "system": platform.platform(),
    }


def git_commit(folder: Path | None = None) -> str:
    """Return the commit of the git repository of this file (or of `folder`), and the number of changed files."""
    where = folder or Path(__file__).resolve().parent
    try:
        if not _git(where, "ls-files", "."):
            return "unknown"  # installed inside the repository of another project
        commit = _git(where, "rev-parse", "HEAD")
        changed = _git(where, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return commit + (f" with {len(changed.splitlines())} changed files" if changed else "")


def _git(folder: Path, *command: str) -> str:
    run = subprocess.run(["git", "-C", str(folder), *command], capture_output=True, text=True, check=True, timeout=20)
    return run.stdout.strip()


def _version(package: str) -> str:
    if package == "python":
        return platform.python_version()
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _processor() -> str:
    """Return the processor name from /proc/cpuinfo."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError):
        return "unknown amount"

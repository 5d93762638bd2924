"""Where a result comes from: commit, versions and machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "k2", "lhotse", "kaldialign", "kaldilm", "numpy", "augmem")


def provenance() -> dict[str, str]:
    """What a reader needs to repeat the run: name -> value; "unknown" for what cannot be found out."""
    return {
        "commit": git_commit(),
        "versions": ", ".join(f"{name} {_version(name)}" for name in ("python", *PACKAGES)),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory()} of memory",
        "system": platform.platform(),
    }


def git_commit(folder: Path | None = None) -> str:
    """The commit of the source tree that holds this file (or `folder`), and whether files differ from it."""
    where = folder or Path(__file__).resolve().parent
    try:
        if not _git(where, "ls-files", "."):
            return "unknown"  # installed below another project's repository, whose commit tells nothing
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
    """The processor's name as Linux gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError):
        return "unknown amount"

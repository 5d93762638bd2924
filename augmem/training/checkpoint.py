"""Checkpoints that can be trusted: written whole, verified when read, the newest good one found by itself.

`checkpoint-00000120.pt` holds everything needed to go on after update 120; `checkpoint-00000120.pt.sha256` its hash, in
the format of sha256sum (`sha256sum -c` checks it). The hash is written first, so a checkpoint is never without one.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from augmem.files import atomic_path, sha256_file, write_text
from augmem.tensors import save_tensors

logger = logging.getLogger(__name__)
PATTERN = "checkpoint-*.pt"


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write the state after update `step`, then remove all but the `keep` newest checkpoints."""
    path = folder / f"checkpoint-{step:08d}.pt"
    before = _hash_file(path).read_text(encoding="utf-8") if path.is_file() and _hash_file(path).is_file() else ""
    with atomic_path(path) as temporary:
        save_tensors(state, temporary)
        line = f"{sha256_file(temporary)}  {path.name}\n"
        write_text(_hash_file(path), line + before)  # a kill leaves the old file or the new one
    write_text(_hash_file(path), line)
    for old in checkpoints(folder)[keep:]:
        old.unlink()
        _hash_file(old).unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoints of a folder, newest first."""
    return sorted(folder.glob(PATTERN), reverse=True)


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that is whole; damaged ones are named in the log and passed over."""
    for path in checkpoints(folder):
        fault = find_fault(path)
        if fault is None:
            return path, torch.load(path, map_location="cpu")
        logger.warning("%s is damaged (%s); trying the one before it", path, fault)
    return None


def find_fault(path: Path) -> str | None:
    """What is wrong with a checkpoint file, or None."""
    if not _hash_file(path).is_file():
        return f"{_hash_file(path).name} is missing"
    written = _hash_file(path).read_text(encoding="utf-8")
    found = sha256_file(path)
    if found not in written.split():
        return f"its content hashes to {found[:12]}, {_hash_file(path).name} says {written[:12].strip()}"
    return None


def _hash_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")

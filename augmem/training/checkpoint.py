"""Checkpoints: written atomically with a hash, verified when read.

`checkpoint-00000120.pt` is the state after step 120; `checkpoint-00000120.pt.sha256` is its hash in the format of
sha256sum (`sha256sum -c` verifies it). The hash is written first, so every checkpoint has one.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from augmem.files import atomic_path, sha256_file, write_text
from augmem.tensors import torch_save

logger = logging.getLogger(__name__)
PATTERN = "checkpoint-*.pt"


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write a checkpoint, then remove all but the newest ones.

    Args:
        folder: folder of the checkpoints.
        step: number of steps made.
        state: state after these steps; may hold tensors.
        keep: number of checkpoints to keep.

    Returns:
        path of the checkpoint.
    """
    path = folder / f"checkpoint-{step:08d}.pt"
    before = _hash_file(path).read_text(encoding="utf-8") if path.is_file() and _hash_file(path).is_file() else ""
    with atomic_path(path) as temporary:
        torch_save(state, temporary)
        line = f"{sha256_file(temporary)}  {path.name}\n"
        write_text(_hash_file(path), line + before)  # if interrupted here, an older file of this step is still valid
    write_text(_hash_file(path), line)
    for old in list_checkpoints(folder)[keep:]:
        old.unlink()
        _hash_file(old).unlink(missing_ok=True)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """Return all checkpoints of a folder, newest first."""
    return sorted(folder.glob(PATTERN), reverse=True)


def load_newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Load the newest undamaged checkpoint; log a warning for each damaged one.

    Returns:
        path and state; None if there is no undamaged checkpoint.
    """
    for path in list_checkpoints(folder):
        damage = find_damage(path)
        if damage is None:
            return path, torch.load(path, map_location="cpu")
        logger.warning("%s is damaged (%s); trying the previous checkpoint", path, damage)
    return None


def find_damage(path: Path) -> str | None:
    """Verify the hash of a checkpoint; return a description of the damage, or None."""
    if not _hash_file(path).is_file():
        return f"{_hash_file(path).name} is missing"
    expected = _hash_file(path).read_text(encoding="utf-8")
    found = sha256_file(path)
    if found not in expected.split():
        return f"its SHA-256 is {found[:12]}, expected {expected[:12].strip()}"
    return None


def _hash_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")

"""Checkpoints: written atomically with a hash, verified when read.

`checkpoint-00000120.safetensors` is the state after step 120; the same name with `.sha256` is its hash in the format of
sha256sum (`sha256sum -c` verifies it). The hash is written first, so every checkpoint has one.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from augmem.files import atomic_path, sha256_file, write_text
from augmem.tensors import TensorFormat, flatten_tree, load_tensors, refuse_pickled, save_tensors, unflatten_tree

logger = logging.getLogger(__name__)
PATTERN = "checkpoint-*.safetensors"
FILE_FORMAT = TensorFormat("augmem checkpoint 1", "a checkpoint", "delete it to resume from the one before")
_STATE = "state"  # name of a text in the file


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write a checkpoint, then remove all but the newest ones.

    Args:
        folder: folder of the checkpoints.
        step: number of steps made.
        state: state after these steps: nested mappings and sequences of tensors and JSON values.
        keep: number of checkpoints to keep.

    Returns:
        path of the checkpoint.
    """
    path = folder / f"checkpoint-{step:08d}.safetensors"
    write_checkpoint(path, state)
    for old in list_checkpoints(folder)[keep:]:
        old.unlink()
        _hash_file(old).unlink(missing_ok=True)
    return path


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint and its hash.

    Args:
        path: file to write, named as by `save_checkpoint`.
        state: state as in `save_checkpoint`.
    """
    before = _hash_file(path).read_text(encoding="utf-8") if path.is_file() and _hash_file(path).is_file() else ""
    tensors, text = flatten_tree(state)
    with atomic_path(path) as temporary:
        save_tensors(temporary, FILE_FORMAT, tensors, {_STATE: text})
        line = f"{sha256_file(temporary)}  {path.name}\n"
        write_text(_hash_file(path), line + before)  # if interrupted here, an older file of this step is still valid
    write_text(_hash_file(path), line)


def list_checkpoints(folder: Path) -> list[Path]:
    """Return all checkpoints of a folder, newest first."""
    return sorted(folder.glob(PATTERN), reverse=True)


def load_newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Load the newest undamaged checkpoint; log a warning for each damaged one.

    Returns:
        path and state; None if there is no undamaged checkpoint. Tuples of the state have become lists.

    Raises:
        UserError: there are only checkpoints of an earlier release.
    """
    paths = list_checkpoints(folder)
    for path in paths:
        damage = find_damage(path)
        if damage is None:
            return path, read_checkpoint(path)
        logger.warning("%s is damaged (%s); trying the previous checkpoint", path, damage)
    for old in [] if paths else sorted(folder.glob("checkpoint-*.pt"), reverse=True):
        refuse_pickled(old)
    return None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read the state in a checkpoint.

    Raises:
        UserError: the file is not a checkpoint.
    """
    tensors, texts = load_tensors(path, FILE_FORMAT)
    with FILE_FORMAT.explain(path):
        return dict(unflatten_tree(tensors, texts[_STATE]))


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

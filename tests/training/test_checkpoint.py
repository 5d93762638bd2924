"""Checkpoint files: rotation, verification, interruption."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from augmem.errors import UserError
from augmem.files import sha256_file
from augmem.training.checkpoint import list_checkpoints, load_newest_checkpoint, save_checkpoint


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"step": step}, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == [
        "checkpoint-00000003.safetensors",
        "checkpoint-00000002.safetensors",
    ]
    assert not (tmp_path / "checkpoint-00000001.safetensors.sha256").exists()


@pytest.mark.parametrize("damage", ["truncated", "flipped", "unhashed"])
def test_a_damaged_checkpoint_is_skipped_with_a_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        newest = save_checkpoint(tmp_path, step, {"step": step, "weights": torch.ones(100)}, keep=2)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 255
    if damage == "unhashed":
        (tmp_path / f"{newest.name}.sha256").unlink()
    else:
        newest.write_bytes(content[:50] if damage == "truncated" else content)
    with caplog.at_level(logging.WARNING):
        found = load_newest_checkpoint(tmp_path)
    assert found is not None and found[1]["step"] == 1
    assert "checkpoint-00000002.safetensors is damaged" in caplog.text


def test_an_interrupted_replacement_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch that ends at a checkpoint's step writes it twice, and it may be the only one."""
    path = save_checkpoint(tmp_path, 7, {"epoch": 0}, keep=1)

    def interrupt(target: Path) -> None:
        if target.name.startswith(f".{path.name}.partial"):
            raise KeyboardInterrupt

    monkeypatch.setattr("augmem.files.sync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, 7, {"epoch": 1}, keep=1)
    found = load_newest_checkpoint(tmp_path)
    assert found is not None and found[1] == {"epoch": 0}
    monkeypatch.undo()
    save_checkpoint(tmp_path, 7, {"epoch": 1}, keep=1)
    found = load_newest_checkpoint(tmp_path)
    assert found is not None and found[1] == {"epoch": 1}
    assert (tmp_path / f"{path.name}.sha256").read_text() == f"{sha256_file(path)}  {path.name}\n"


def test_training_does_not_start_again_where_only_older_checkpoints_exist(tmp_path: Path) -> None:
    torch.save({"step": 3}, tmp_path / "checkpoint-00000003.pt")
    with pytest.raises(UserError, match=r"augmem convert --trust .*checkpoint-00000003\.pt"):
        load_newest_checkpoint(tmp_path)
    save_checkpoint(tmp_path, 4, {"step": 4}, keep=1)
    assert load_newest_checkpoint(tmp_path) == (tmp_path / "checkpoint-00000004.safetensors", {"step": 4})

"""run.sh alone, with a stub in augmem's place that says how it was called."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.shell.roads import ROOT, Text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of run.sh, and conf/; no environment."""
    shutil.copy(ROOT / "run.sh", tmp_path)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    return tmp_path


def run(folder: Path, *options: str) -> Text:
    return subprocess.run([str(folder / "run.sh"), *options], capture_output=True, text=True, timeout=60)


def test_without_an_environment_it_says_how_to_get_one(folder: Path) -> None:
    result = run(folder, "--stage", "lang")
    assert result.returncode == 2
    assert result.stderr == "run.sh: no augmem in .venv: begin with stage 0, environment, or install it there\n"


def test_a_dry_run_lies_beside_the_experiment_however_its_folder_is_written(folder: Path) -> None:
    stub = folder / ".venv" / "bin" / "augmem"
    stub.parent.mkdir(parents=True)
    stub.write_text('#!/bin/sh\necho "$@"\n')
    stub.chmod(0o755)
    said = [run(folder, "--stage", "lang", "--exp", exp, "--dry-run").stdout for exp in ("exp/a", "exp/a/")]
    assert said[0] == said[1] and "lang --exp exp/a-dry\n" in said[0]

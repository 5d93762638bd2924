"""run.sh with a stub for augmem that prints its arguments."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.shell.experiments import ROOT, Text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of run.sh and conf/ without an environment."""
    shutil.copy(ROOT / "run.sh", tmp_path)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    return tmp_path


@pytest.fixture
def stub(folder: Path) -> Path:
    """The same with the stub."""
    program = folder / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nshift 2; echo "$@"\n')  # after -m augmem.cli
    program.chmod(0o755)
    (folder / ".venv" / ".made-by-setup").touch()
    return folder


def run(folder: Path, *options: str) -> Text:
    return subprocess.run([str(folder / "run.sh"), *options], capture_output=True, text=True, timeout=60)


def test_a_missing_environment_is_reported_with_the_stage_that_makes_it(folder: Path) -> None:
    result = run(folder, "--stage", "lang")
    assert result.returncode == 2
    assert result.stderr == "run.sh: there is no .venv/bin/python: run stage 0 (environment) first\n"


@pytest.mark.parametrize("exp", ["exp/a", "exp/a/"])
def test_a_dry_run_writes_beside_the_experiment(stub: Path, exp: str) -> None:
    assert "lang --exp exp/a-dry\n" in run(stub, "--stage", "lang", "--exp", exp, "--dry-run").stdout


@pytest.mark.parametrize(
    ("options", "recipe", "exp"),
    [
        ([], "mini_librispeech", "mini_librispeech"),
        (["--config", "conf/librispeech_100.yaml"], "librispeech_100", "librispeech_100"),
        (["--corpus", "amazon_queen"], "amazon_queen", "amazon_queen"),
        (["--corpus", "kaldi", "--corpus-dir", "mine"], "own_data", "kaldi-own_data"),
    ],
)
def test_the_corpus_chooses_recipe_and_experiment(stub: Path, options: list[str], recipe: str, exp: str) -> None:
    first, *stages = run(stub, "--stage", "corpus", *options).stdout.splitlines()
    corpus = options[1] if "--corpus" in options else "librispeech"
    assert first.startswith(f"recipe --exp exp/{exp} --config conf/{recipe}.yaml --corpus.recipe {corpus}")
    assert stages[-1] == f"report --exp exp/{exp}"

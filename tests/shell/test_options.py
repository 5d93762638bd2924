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
    """The folder, with the stub."""
    program = folder / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nshift 2; echo "$@"\n')  # after -m augmem.cli
    program.chmod(0o755)
    (folder / ".venv" / ".made-by-setup").touch()
    return folder


def run(folder: Path, *options: str, cwd: Path | None = None) -> Text:
    return subprocess.run(
        [str(folder / "run.sh"), *options], cwd=cwd or folder, capture_output=True, text=True, timeout=60
    )


def test_a_missing_environment_is_reported_with_the_stage_that_makes_it(folder: Path) -> None:
    result = run(folder, "--stage", "lang")
    assert result.returncode == 2
    assert result.stderr == "run.sh: there is no .venv/bin/python: run stage 0 (environment) first\n"


@pytest.mark.parametrize("exp", ["exp/a", "exp/a/"])
def test_a_dry_run_writes_beside_the_experiment(stub: Path, exp: str) -> None:
    assert "lang --exp exp/a-dry --recipe" in run(stub, "--stage", "lang", "--exp", exp, "--dry-run").stdout


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
    assert first.startswith(f"recipe --exp exp/{exp} --lock ")
    assert f"--config conf/{recipe}.yaml --corpus.recipe {corpus}" in first
    assert stages[-1] == f"report --exp exp/{exp} --recipe exp/.{exp}.run.yaml"


def test_relative_paths_are_sought_in_the_folder_of_the_caller_first(stub: Path, tmp_path: Path) -> None:
    user = tmp_path / "Meine Aufnahmen ü"
    user.mkdir()
    (user / "mine.yaml").touch()
    (stub / "exp" / "old").mkdir(parents=True)
    (stub / "exp" / "old" / "recipe.yaml").touch()
    first = run(stub, "--stage", "score", "--config", "mine.yaml", "--data", "new", cwd=user).stdout.splitlines()[0]
    assert f"--config {user}/mine.yaml" in first and f"--data {user}/new --folder {user}" in first
    first = run(stub, "--stage", "score", "--exp", "exp/old", cwd=user).stdout.splitlines()[0]
    assert first == f"recipe --exp exp/old --lock {first.split()[4]} --stages score,report --folder {user}"


def test_parts_may_have_names_that_yaml_reads_as_other_types(stub: Path) -> None:
    first = run(stub, "--stage", "score", "--train", "2024,on", "--dev", "null").stdout.splitlines()[0]
    assert '--corpus.train ["2024","on"] --corpus.dev ["null"]' in first

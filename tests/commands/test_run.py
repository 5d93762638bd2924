"""`augmem run`: the commands of all stages, the same as those of run.sh."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from augmem import cli
from augmem.commands.run import CONF, NAMES, find_recipe, list_commands, rewrite_options, run_command
from augmem.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def words_of(*options: str) -> list[str]:
    """Return the words of each command after `python -m MODULE`, joined by spaces."""
    arguments = cli.command_parser("run").parse_args(rewrite_options(["run", *options])).run
    return [" ".join(command[1:]) for _, command in list_commands(arguments, lock=10)]


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of run.sh with a stub for Python that prints its arguments."""
    folder = tmp_path_factory.mktemp("stub")
    shutil.copy(ROOT / "run.sh", folder)
    shutil.copytree(ROOT / "conf", folder / "conf")
    (folder / "python").write_text('#!/bin/sh\nshift 2; echo "stub: $@"\n')
    (folder / "python").chmod(0o755)
    return folder


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--stage", "lang", "--stop-stage", "5", "--nj", "3", "--exp", "exp/mine/"],
        ["--corpus", "kaldi", "--corpus-dir", "my data", "--train", "a,2024", "--dev", "c", "--test", "d"],
        ["--corpus", "folder", "--data", "e"],
        ["--corpus", "amazon_queen", "--dry-run", "--processes", "2", "--max-minutes", "9", "--lm.order", "4"],
        ["--config", "conf/librispeech_100.yaml", "--scheduler", "tcp://a:1", "--training.epochs", "3"],
    ],
)
def test_the_commands_are_those_of_run_sh(stub: Path, options: list[str]) -> None:
    command = [stub / "run.sh", "--python", stub / "python", *options]
    result = subprocess.run(command, cwd=stub, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert words_of(*options) == re.findall(
        "^stub: (.*)", re.sub(r"--lock \d+", "--lock 10", result.stdout), re.MULTILINE
    )


def test_an_existing_experiment_uses_its_own_recipe(tmp_path: Path, stub: Path) -> None:
    (tmp_path / "recipe.yaml").touch()
    options = ["--stage", "score", "--exp", str(tmp_path), "--python", str(stub / "python")]
    result = subprocess.run([stub / "run.sh", *options], cwd=stub, capture_output=True, text=True)
    first = re.sub(r"--lock \d+", "--lock 10", result.stdout).splitlines()[1].removeprefix("stub: ")
    assert words_of(*options[:-2])[0] == first == f"recipe --exp {tmp_path} --lock 10 --stages score,report"


def test_the_stages_are_those_of_run_sh() -> None:
    script = (ROOT / "run.sh").read_text(encoding="utf-8")
    assert re.findall(r"^stages=\((.*)\)", script, re.MULTILINE) == [" ".join(NAMES)]


def test_recipes_are_found_by_path_and_by_name_outside_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "mine.yaml"
    mine.touch()
    assert find_recipe(str(mine)) == mine
    assert find_recipe("own_data") == find_recipe("conf/own_data.yaml") == CONF / "own_data.yaml"
    with pytest.raises(UserError, match=r"no recipe none; .* one of: .*librispeech_960"):
        find_recipe("none")


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--stage", "nine"], "no stage 'nine'; use 0 to 9"), (["--training.epochs"], "--training.epochs needs a value")],
)
def test_wrong_options_are_reported(options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        words_of(*options)


def test_the_first_failure_ends_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran = []

    def fail_in_lang(command: list[str], lock: int) -> int:
        ran.append(command[3])
        return 7 * (command[3] == "lang")

    monkeypatch.setattr("augmem.commands.run.run_command", fail_in_lang)
    arguments = cli.command_parser("run").parse_args(["run", "--stage", "corpus", "--exp", str(tmp_path / "exp")])
    assert cli.run(arguments) == 7
    assert ran == ["recipe", "corpus", "features", "lang"]


def test_an_interrupted_stage_ends_by_itself(tmp_path: Path) -> None:
    """Ctrl-C goes to both processes; `augmem run` waits until the stage has written what it must."""
    stage = f"""
import pathlib, time
pathlib.Path({str(tmp_path / "started")!r}).touch()
try:
    time.sleep(30)
except KeyboardInterrupt:
    time.sleep(0.5)
    pathlib.Path({str(tmp_path / "saved")!r}).touch()
    raise SystemExit(130)
"""
    call = f"sys.exit(run_command([sys.executable, '-c', {stage!r}]))"
    script = f"import sys; from augmem.commands.run import run_command; {call}"
    with subprocess.Popen([sys.executable, "-c", script], start_new_session=True, cwd=ROOT) as process:
        while not (tmp_path / "started").exists():
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(10) == 130
    assert (tmp_path / "saved").exists()


def test_the_status_of_a_killed_stage_is_that_of_a_shell() -> None:
    assert run_command([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == 137

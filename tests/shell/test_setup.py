"""local/setup.sh and the choice of an environment by run.sh, with a stub for Python and uv that logs its arguments."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.shell.experiments import ROOT, Text

STUB = """#!/bin/bash
log() { echo "$*" >>"$LOG"; }
case "$*" in
  "-c "*) [[ $2 == *version* ]] && echo 3.11 ;;
  "-m venv .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python; cp "$0" .venv/bin/uv ;;
  *"config list") echo ":env:.timeout='9'"; echo "global.index-url='https://mirror.example/simple'" ;;
  *augmem.installation*) cat damaged 2>/dev/null ;;
  *) log "${0##*/} $* user=$PIP_USER hashes=$UV_REQUIRE_HASHES index=$UV_DEFAULT_INDEX cache=$UV_NO_CACHE" ;;
esac
exit 0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the scripts, the lock files and the stub, without an environment."""
    (tmp_path / "project").mkdir()
    for name in ("run.sh", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / "project")
    for name in ("conf", "local", "requirements"):
        shutil.copytree(ROOT / name, tmp_path / "project" / name)
    write_stub(tmp_path / "python")
    return tmp_path / "project"


def write_stub(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STUB)
    path.chmod(0o755)


def run(folder: Path, *command: str, **variables: str) -> Text:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "VIRTUAL_ENV"))}
    environment = kept | {"LOG": str(folder / "log"), "PYTHON": str(folder.parent / "python")} | variables
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def setup(folder: Path, **variables: str) -> Text:
    return run(folder, "local/setup.sh", **variables)


def log(folder: Path) -> str:
    return (folder / "log").read_text() if (folder / "log").exists() else ""


def test_a_second_set_up_does_nothing(folder: Path) -> None:
    assert "ready in" in setup(folder).stdout
    first = log(folder)
    assert setup(folder).stdout == "environment: up to date (.venv)\n"
    assert log(folder) == first


def test_variables_that_would_install_elsewhere_have_no_effect(folder: Path) -> None:
    setup(folder, PIP_USER="1", UV_REQUIRE_HASHES="1", PIP_REQUIRE_HASHES="1", PYTHONPATH="/elsewhere")
    installs = [line for line in log(folder).splitlines() if " install " in line]
    assert len(installs) == 3
    assert all("user=0 hashes= " in line for line in installs)


def test_uv_gets_the_index_of_pip_unless_it_has_its_own(folder: Path) -> None:
    setup(folder)
    assert "index=https://mirror.example/simple" in log(folder).splitlines()[1]
    shutil.rmtree(folder / ".venv")
    setup(folder, UV_DEFAULT_INDEX="https://own.example/simple")
    assert "index=https://own.example/simple" in log(folder).splitlines()[-1]


def test_a_home_that_cannot_be_written_disables_the_cache(folder: Path) -> None:
    result = setup(folder, HOME="/proc/none", XDG_CACHE_HOME="", UV_CACHE_DIR="")
    assert "no cache: /proc/none/.cache/uv cannot be written" in result.stdout and result.returncode == 0
    assert "cache=1" in log(folder)


def test_deleted_packages_are_installed_again(folder: Path) -> None:
    setup(folder)
    (folder / "damaged").write_text("lhotse\nk2\n")
    result = setup(folder)
    assert "to repair: lhotse k2" in result.stdout
    assert "--reinstall-package lhotse --reinstall-package k2" in log(folder)


def test_the_environment_of_a_moved_folder_is_made_again(folder: Path) -> None:
    setup(folder)
    (folder / ".venv" / "old").touch()
    moved = folder.rename(folder.parent / "moved")
    result = setup(moved)
    assert f".venv was made as {folder}/.venv; making it again" in result.stdout
    assert not (moved / ".venv" / "old").exists()


def test_an_environment_of_another_origin_is_not_changed(folder: Path) -> None:
    (folder / ".venv").mkdir()
    result = setup(folder)
    assert result.returncode == 1 and ".venv was not made by this script" in result.stderr
    assert list((folder / ".venv").iterdir()) == [] and log(folder) == ""


def test_a_missing_python_is_reported_with_its_remedies(folder: Path) -> None:
    result = setup(folder, PYTHON="python3.11-missing")
    assert result.returncode == 1 and not (folder / ".venv").exists()
    assert "python3.11-missing not found. On Debian or Ubuntu: apt-get install python3.11" in result.stderr
    assert "uv python install 3.11" in result.stderr


@pytest.mark.parametrize("way", ["option", "active", "in .venv"])
def test_an_own_environment_is_checked_and_not_changed(way: str, folder: Path) -> None:
    own = folder / ".venv" if way == "in .venv" else folder.parent / "own"
    write_stub(own / "bin" / "python")
    options = ["--python", str(own / "bin" / "python")] if way == "option" else []
    variables = {"VIRTUAL_ENV": str(own)} if way == "active" else {}
    result = run(folder, "./run.sh", *options, "--stop-stage", "train", **variables)
    assert result.returncode == 0, result.stderr
    shown = ".venv/bin/python" if way == "in .venv" else f"{own}/bin/python"
    assert result.stdout.startswith(f"using the environment of {shown} as it is; nothing is installed into it\n")
    first, second = log(folder).splitlines()[:2]
    assert first.startswith("python -m augmem.doctor --task train") and second.startswith("python -m augmem.cli recipe")
    assert "pip" not in log(folder) and sorted(own.rglob("*")) == [own / "bin", own / "bin" / "python"]


def test_an_own_environment_that_lacks_something_stops_the_run(folder: Path) -> None:
    own = folder.parent / "own" / "bin" / "python"
    write_stub(own)
    own.write_text(STUB.replace("exit 0", "exit 1"))
    result = run(folder, "./run.sh", "--python", str(own))
    assert result.returncode == 2 and f"{own} lacks what is listed above" in result.stderr
    assert "recipe" not in log(folder)


def test_the_environment_of_the_project_is_no_own_environment(folder: Path) -> None:
    setup(folder)
    result = run(folder, "./run.sh", "--stop-stage", "0", VIRTUAL_ENV=str(folder / ".venv"))
    assert "environment: up to date (.venv)" in result.stdout and "as it is" not in result.stdout

"""The project as a wheel, installed into an environment of its own, outside the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import soundfile
import yaml

from augmem import Recognizer
from tests.shell.experiments import ROOT, Text
from tests.tiny import TEXTS, noise

WITHOUT = {"PYTHONPATH", "VIRTUAL_ENV"}
SYSTEMS = ("first_pass", "rescored", "mbr")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources, since setuptools writes into their folder."""
    pytest.importorskip("setuptools", "77")
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("augmem", "conf"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "corpora" / "lm", source / "corpora" / "lm")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", output, source)
    (built,) = output.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an empty environment that sees all packages of this one, except the project."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    pip("install", "--no-deps", "--no-compile", "--target", packages, wheel)
    (packages / "main.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


def pip(*words: object) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, words)]
    subprocess.run(command, check=True, env=os.environ | {"PIP_NO_INDEX": "1"})


def augmem(python: Path, folder: Path, *words: object) -> Text:
    command = [str(python), "-m", "augmem.cli", *map(str, words)]
    environment = {name: value for name, value in os.environ.items() if name not in WITHOUT}
    environment["NUMBA_DISABLE_JIT"] = "1"  # compiling the kernels of a new environment takes longer than running them
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1500)


def test_the_wheel_has_types_recipes_and_web_pages(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = {f"augmem/conf/{path.name}" for path in (ROOT / "conf").glob("*.yaml")}
    data = {path.relative_to(ROOT).as_posix() for path in (ROOT / "augmem").rglob("*") if path.suffix in DATA}
    assert {"augmem/py.typed"} | tracked | data <= names
    shipped = zipfile.ZipFile(wheel).read("augmem/shipped/librispeech_5h/G.arpa.xz")
    assert shipped == (ROOT / "corpora" / "lm" / "3gram.arpa.xz").read_bytes()
    assert not [name for name in names if not name.startswith(("augmem/", "augmem-"))]


DATA = {".py", ".tsv", ".html", ".css", ".js", ".md"}


def test_the_installed_package_transcribes_outside_the_checkout(installed: Path, package: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "noise.wav", noise(2.0, 1), 16000)
    result = augmem(installed, tmp_path, "transcribe", "--package", package, "noise.wav")
    assert result.returncode == 0, result.stderr
    events = Recognizer.load(package).transcribe([noise(2.0, 1)], 16000)
    assert result.stdout.split() == " ".join(event.text for event in events).split() != []


def test_the_installed_package_runs_a_small_recipe_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    """All stages but the check of the environment, by a recipe of the wheel, in a folder with audio and tables only."""
    for part in ("train", "dev"):
        rows = [f"{part}{n}.wav\t{text}\t{part}-{n}" for n, text in enumerate(TEXTS)]
        (tmp_path / f"{part}.tsv").write_text("\n".join(["audio\ttext\tspeaker", *rows]) + "\n")
        for n in range(len(TEXTS)):
            soundfile.write(tmp_path / f"{part}{n}.wav", noise(2.0, n), 16000)
    (tmp_path / "lexicon.txt").write_text("ONE W AH N\nTWO T UW\n")
    corpus = ["--corpus", "folder", "--corpus-dir", ".", "--lang.lexicon", "lexicon.txt", "--lang.g2p", "none"]
    training = ["--training.epochs", "2", "--training.ctc_epochs", "1", "--training.hand_over_epochs", "0"]
    result = augmem(
        installed, tmp_path, "run", "--stage", "corpus", "--config", "fixture", "--nj", "1", *corpus, *training
    )
    assert result.returncode == 0, result.stdout + result.stderr
    exp = tmp_path / "exp" / "folder-fixture"
    assert yaml.safe_load((exp / "recipe.yaml").read_text())["training"]["epochs"] == 2
    assert (exp / "train" / "model.safetensors").is_file() and (exp / "report" / "report.html").is_file()
    scores = json.loads((exp / "score" / "summary.json").read_text())["scores"]
    assert {(row["part"], row["system"]) for row in scores} == {("dev", system) for system in SYSTEMS}
    assert all(system in result.stdout for system in SYSTEMS)

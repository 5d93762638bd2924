"""The project as a wheel, installed into an environment of its own, outside the checkout."""

from __future__ import annotations

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

from augmem import Recognizer
from tests.shell.experiments import ROOT, Text
from tests.tiny import noise

WITHOUT = {"PYTHONPATH", "VIRTUAL_ENV"}


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
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


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


def test_the_installed_package_runs_stages_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    for part in ("train", "dev"):
        rows = [f"{part}{n}.wav\tone two\t{part}-{n}" for n in range(3)]
        (tmp_path / f"{part}.tsv").write_text("\n".join(["audio\ttext\tspeaker", *rows]) + "\n")
        for n in range(3):
            soundfile.write(tmp_path / f"{part}{n}.wav", noise(2.0, n), 16000)
    result = augmem(
        installed,
        tmp_path,
        "run",
        "--stage",
        "corpus",
        "--stop-stage",
        "corpus",
        "--corpus",
        "folder",
        "--corpus-dir",
        ".",
    )
    assert result.returncode == 0, result.stderr
    assert "== 1 corpus" in result.stdout and "part train: 3 utterances" in result.stdout
    assert (tmp_path / "exp" / "folder-own_data" / "recipe.yaml").is_file()
    assert (tmp_path / "data" / "folder" / "manifests" / "train" / "supervisions.jsonl.gz").is_file()

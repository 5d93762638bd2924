"""Comparison of an environment with a lock file."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from augmem.installation import damaged_packages, locked_versions


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock file and an environment with its two packages."""
    site = tmp_path / "site"
    for name, version in (("augmem_one", "1.0"), ("augmem_two", "2.0")):
        info = site / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (site / name).mkdir()
        (site / name / "__init__.py").touch()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        record = f"{name}/__init__.py,sha256=x,0\n{name}/__pycache__/__init__.cpython-311.pyc,,\n"
        (info / "RECORD").write_text(record + f"{info.name}/METADATA,,\n{info.name}/RECORD,,\n")
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    file = tmp_path / "lock.txt"
    file.write_text("# packages\naugmem-one==1.0 \\\n    --hash=sha256:00\naugmem-two==2.0 \\\n    --hash=sha256:01\n")
    return file


def test_a_lock_file_names_packages_and_versions(lock: Path) -> None:
    assert locked_versions(lock) == {"augmem-one": "1.0", "augmem-two": "2.0"}


def test_a_complete_environment_has_no_damaged_packages(lock: Path) -> None:
    assert damaged_packages(lock) == []


def test_absent_other_and_deleted_packages_are_damaged(lock: Path) -> None:
    (lock.parent / "site" / "augmem_two" / "__init__.py").unlink()
    lock.write_text(lock.read_text().replace("one==1.0", "one==1.1") + "augmem-three==3.0 \\\n")
    assert damaged_packages(lock) == ["augmem-one", "augmem-two", "augmem-three"]

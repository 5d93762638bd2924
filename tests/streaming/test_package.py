"""Packaged models: errors, older formats, and what writing one may replace."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from augmem.decoding import Scales, SearchConfig
from augmem.errors import UserError
from augmem.files import sha256_json, write_json
from augmem.graph import HLG_FILE
from augmem.streaming import PackageInfo, open_package, write_package


def test_content_is_read_as_written(tmp_path: Path, package: Path) -> None:
    info = PackageInfo(Scales(1.2, 0.5, 0.2), SearchConfig(search_beam=9.0), "card", "license", {"commit": "abc"})
    write_package(tmp_path / "out", package / "model.safetensors", package / "lang", package / HLG_FILE, info)
    content = open_package(tmp_path / "out")
    assert (content.scales, content.search) == (info.scales, info.search)
    assert (tmp_path / "out" / "README.md").read_text() == "card"
    assert (tmp_path / "out" / "LICENSE").read_text() == "license"
    assert json.loads((tmp_path / "out" / "package.json").read_text())["origin"] == {"commit": "abc"}


def sealed(values: dict[str, Any]) -> dict[str, Any]:
    """Content of package.json with a correct hash."""
    values = {"format": "augmem package 3", **values}
    return {**values, "sha256": sha256_json(values)}


def test_invalid_packages_are_refused(tmp_path: Path) -> None:
    remedy = f"package the model again: augmem package --exp EXP --output {tmp_path}"
    with pytest.raises(FileNotFoundError, match="augmem package --exp"):
        open_package(tmp_path)
    sizes = {"features": {"bins": 1}, "scales": {}, "search": {}}
    for values, message in (
        ({"format": "augmem package 1", "features": {}, "scales": {}}, "format 'augmem package 1' .*"),
        ([], "format None .*"),
        (sealed({}), "invalid options .*'scales'.*"),
        (sealed(sizes), "invalid .*'bins'.*"),
    ):
        (tmp_path / "package.json").write_text(json.dumps(values))
        with pytest.raises(UserError, match=f"package.json: {message}{remedy}"):
            open_package(tmp_path)


def test_only_packages_are_replaced(tmp_path: Path, package: Path) -> None:
    """Writing to the folder of an experiment, or to a home directory, must not delete it."""

    def write(output: Path) -> None:
        info = PackageInfo(Scales(1.0, 0.0))
        write_package(output, package / "model.safetensors", package / "lang", package / HLG_FILE, info)

    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("all of it")
    for output in (tmp_path / "thesis", tmp_path / "thesis" / "chapter.tex"):
        with pytest.raises(UserError, match="not a packaged model"):
            write(output)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "all of it"
    (tmp_path / "model").mkdir()
    for _ in range(2):  # into an empty folder, then over the package
        write(tmp_path / "model")
    assert (tmp_path / "model" / "package.json").is_file()


FILES = ("model.safetensors", HLG_FILE, "lang/lexicon.txt", "lang/tokens.txt", "package.json", "lang/words.txt")


@pytest.mark.parametrize("name", FILES)
def test_a_changed_bit_in_any_file_is_reported(name: str, tmp_path: Path, package: Path) -> None:
    """The lowest bit of the last digit or value changes, so that the file keeps its form."""
    copy = tmp_path / "copy"
    shutil.copytree(package, copy)
    content = bytearray((copy / name).read_bytes())
    place = max(n for n, byte in enumerate(content) if chr(byte).isalnum()) if name.endswith((".txt", ".json")) else -1
    content[place] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"copy/{re.escape(name)}: changed since .*; copy the package again"):
        open_package(copy)


def test_a_missing_file_is_reported(tmp_path: Path, package: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(package, copy)
    (copy / "lang" / "words.txt").unlink()
    with pytest.raises(UserError, match=r"lang/words\.txt: missing; copy the package again"):
        open_package(copy)


@pytest.mark.parametrize("name", ["../../secret", "/dev/zero", None])
def test_hashes_must_name_files_of_the_package(name: str | None, tmp_path: Path, package: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(package, copy)
    values = json.loads((copy / "package.json").read_text())
    del values["sha256"]
    if name:
        values["files"][name] = ""
    else:
        del values["files"]["model.safetensors"]
    write_json(copy / "package.json", sealed(values))
    with pytest.raises(UserError, match=r"package\.json: has no hash of .*, or it is not in the package"):
        open_package(copy)

"""Packaged models: errors, older formats, and what writing one may replace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from augmem.decoding import Scales, SearchConfig
from augmem.errors import UserError
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


def test_invalid_packages_are_refused(tmp_path: Path) -> None:
    remedy = f"package the model again: augmem package --exp EXP --output {tmp_path}"
    with pytest.raises(FileNotFoundError, match="augmem package --exp"):
        open_package(tmp_path)
    for content, message in {
        '{"format": "augmem package 1", "features": {}, "scales": {}}': "format 'augmem package 1' .*",
        "[]": "format None .*",
        '{"format": "augmem package 2"}': "invalid options .*'scales'.*",
        '{"format": "augmem package 2", "features": {"bins": 1}, "scales": {}, "search": {}}': "invalid .*'bins'.*",
    }.items():
        (tmp_path / "package.json").write_text(content)
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

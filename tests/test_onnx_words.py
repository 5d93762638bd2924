"""Further words in packages for the onnx engine: of the shipped model's kind."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from augmem.cli import parse_and_run
from augmem.errors import UserError
from augmem.files import read_json
from augmem.onnx_engine import OnnxRecognizer
from augmem.onnx_export import export_onnx_package
from augmem.onnx_package import FILES, open_onnx_package
from augmem.onnx_words import add_onnx_words
from augmem.shipped import SHIPPED_MODEL
from augmem.streaming import open_package
from tests.tiny import RATE, noise


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUGMEM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def exported(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "package"
    export_onnx_package(open_package(package), package.parent / "lm" / "first_pass.arpa", folder)
    return folder


def lexicon(package: Path) -> list[str]:
    return lzma.decompress((package / FILES.lexicon).read_bytes()).decode().splitlines()


def test_added_words_are_recognised(
    exported: Path, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """WUN sounds like ONE and is far more probable; ONE gets a second pronunciation."""
    names, new = tmp_path / "names.txt", tmp_path / "new"
    names.write_text("Wun\tW AH N\t1000000\none\tT AH N\n")
    before = " ".join(event.text for event in OnnxRecognizer(exported).transcribe([noise(5.3, 6)], RATE))
    assert parse_and_run(["words", str(exported), "add", str(names), "--output", str(new)]) == 0
    assert capsys.readouterr().out == f"ONE\tW AH N\t(lexicon)\nwrote {new}\n"
    assert [line for line in lexicon(new) if line not in lexicon(exported)] == ["ONE T AH N", "WUN W AH N"]
    graphs = set(cache.glob("*.fst"))
    after = " ".join(event.text for event in OnnxRecognizer(new).transcribe([noise(5.3, 6)], RATE))
    assert "ONE" in before and "WUN" not in before and "WUN" in after
    assert set(cache.glob("*.fst")) == graphs and len(graphs) == 2  # the command has built the graph
    assert "2 words of names.txt were added" in (new / "README.md").read_text()
    kept = {name: value for name, value in read_json(exported / "package.json").items() if "h" not in name}
    assert kept == {name: value for name, value in read_json(new / "package.json").items() if "h" not in name}


def test_a_package_is_changed_in_place(exported: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("Wun\tW AH N\n")
    add_onnx_words(exported, names, None, tmp_path / "mine")
    names.write_text("too\tT UW\n")
    assert parse_and_run(["words", str(tmp_path / "mine"), "add", str(names)]) == 0
    assert lexicon(tmp_path / "mine")[-2:] == ["WUN W AH N", "TOO T UW"]
    open_onnx_package(tmp_path / "mine")


def test_invalid_lists_and_folders_are_refused_and_nothing_is_written(exported: Path, tmp_path: Path) -> None:
    names, new = tmp_path / "names.txt", tmp_path / "new"
    names.write_text("Wun\tW XX\n")
    with pytest.raises(UserError, match=r"names\.txt:1: XX is not a phone of the model; its phones are SIL SPN AH N"):
        add_onnx_words(exported, names, None, new)
    assert not new.exists()
    with pytest.raises(UserError, match="not a package for the onnx engine; choose another folder"):
        add_onnx_words(exported, names, None, tmp_path)


def test_the_shipped_model_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("Wun\tW AH N\n")
    with pytest.raises(UserError, match=r"is part of augmem: give the package to write \(--output DIR\)"):
        parse_and_run(["words", SHIPPED_MODEL.name, "add", str(tmp_path / "names.txt")])

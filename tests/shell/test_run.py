"""run.sh itself, on real speech: the 29 utterances of the fixture laid out as a LibriSpeech tree."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from augmem.corpus.fixture import build_librispeech_tree

ROOT = Path(__file__).resolve().parents[2]
SPEECH = ROOT / "tests" / "fixtures" / "speech"


def run(*options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["./run.sh", *map(str, options)], cwd=ROOT, capture_output=True, text=True, timeout=1500)


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str | Path]]:
    """Folder and options of a small experiment on the fixture."""
    folder = tmp_path_factory.mktemp("road")
    tree = build_librispeech_tree(SPEECH, folder / "LibriSpeech", part="train-fixture")
    same = ["--train", "train-fixture", "--dev", "train-fixture", "--test", "train-fixture"]
    place = ["--data", folder / "data", "--exp", folder / "exp", "--nj", "2"]
    corpus = ["--corpus", "librispeech", "--corpus-dir", tree, "--config", "conf/fixture.yaml"]
    return folder, [*corpus, *same, *place, "--training.epochs", "2"]


def test_the_whole_road_ends_with_a_table_and_a_page(road: tuple[Path, list[str | Path]]) -> None:
    folder, options = road
    result = run(*options)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    for stage in ("corpus", "features", "lang", "lm", "graphs", "train", "decode", "score", "report"):
        assert f" {stage}: " in result.stdout
    assert "WER" in result.stdout
    scores = json.loads((folder / "exp" / "score" / "summary.json").read_text())
    assert scores
    page = (folder / "exp" / "report.html").read_text()
    assert "train-fixture" in page
    assert len(list((folder / "exp" / "score").glob("recogs-*.txt"))) == 2


def test_a_second_run_does_nothing_again(road: tuple[Path, list[str | Path]]) -> None:
    folder, options = road
    if not (folder / "exp" / "score").exists():
        pytest.fail("the first run left no scores")
    before = {path: path.stat().st_mtime_ns for path in (folder / "exp" / "train").glob("*.pt")}
    result = run(*options, "--stop-stage", "score")
    assert result.returncode == 0, result.stderr[-4000:]
    assert result.stdout.count("up to date") >= 8
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "exp" / "train").glob("*.pt")}


def test_another_recipe_never_overwrites_a_training(road: tuple[Path, list[str | Path]]) -> None:
    _, options = road
    result = run(*options[:-1], "3", "--stage", "train", "--stop-stage", "train")
    assert result.returncode != 0
    assert "begun with other inputs (training changed)" in result.stderr
    assert "--exp" in result.stderr


def test_help_explains_every_option_with_its_default() -> None:
    result = run("--help")
    assert result.returncode == 0
    for option in ("--stage N", "--config FILE", "--corpus-dir", "--train PARTS", "--max-minutes", "--dry-run"):
        assert option in result.stdout
    assert "conf/mini.yaml" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stage", "nine"], "no stage 'nine'"),
        (["--bogus", "1"], "unknown option --bogus"),
        (["--config", "conf/none.yaml"], "no recipe conf/none.yaml; there are: conf/"),
        (["--nj"], "--nj wants a value"),
    ],
)
def test_a_wrong_option_is_named(options: list[str], message: str) -> None:
    result = run(*options)
    assert result.returncode == 2
    assert message in result.stderr


def test_a_wrong_recipe_value_is_named(tmp_path: Path) -> None:
    result = run("--stage", "corpus", "--stop-stage", "corpus", "--exp", tmp_path, "--encoder.heads", "7")
    assert result.returncode != 0
    assert "heads" in result.stderr

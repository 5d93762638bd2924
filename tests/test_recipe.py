"""The recipe of an experiment, written and read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser

from augmem.errors import UserError
from augmem.recipe import RECIPE_FILE, Recipe, instantiate, load_recipe, make_recipe, recipe_parser, resolve_options
from augmem.renamed_options import update_options
from augmem.run_options import begin_run
from augmem.shipped import SHIPPED_MODEL
from tests.tiny import ENCODER

CONF = Path(__file__).resolve().parents[1] / "conf"


def write_recipe(exp: Path, *options: str) -> None:
    (exp / RECIPE_FILE).write_text(yaml.safe_dump(resolve_options(list(options))))


def test_a_written_recipe_reads_back_with_its_data_folder(tmp_path: Path) -> None:
    write_recipe(tmp_path, "--corpus.recipe", "kaldi")
    expected = Recipe()
    assert load_recipe(tmp_path) == replace(
        expected, corpus=replace(expected.corpus, recipe="kaldi"), data="data/kaldi"
    )


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_in_conf_is_valid(path: Path, tmp_path: Path) -> None:
    write_recipe(tmp_path, "--config", str(path))
    load_recipe(tmp_path)


@pytest.mark.parametrize(("folder", "command"), [(CONF.parent, "./run.sh"), (CONF, "augmem run")])
def test_a_folder_without_recipe_is_reported_with_the_command_that_starts_one(
    folder: Path, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command of a checkout exists in its folder only."""
    monkeypatch.chdir(folder)
    with pytest.raises(FileNotFoundError, match=rf"no such experiment; {command} --exp .* starts one"):
        load_recipe(tmp_path)


@pytest.fixture(scope="module")
def parser() -> ArgumentParser:
    return recipe_parser()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("lang:\n  min_count:\n", r"lang\.min_count has no value; write one, or delete its line"),
        ("corpus: null\n", "corpus is None, but has options of its own, as in conf/"),
        ("lang: 5\n", "lang is 5, but has options of its own"),
        ("training:\n  batches: []\n", r"training\.batches is \[\], but has options of its own"),
    ],
)
def test_options_without_value_and_sections_without_options_are_refused(
    content: str, fault: str, parser: ArgumentParser, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(UserError, match=fault):
        instantiate(parser, parser.parse_args(["--config", str(tmp_path / "mine.yaml")]))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("training:\n  epochs: x\n", r"training\.epochs: Expected a int\. Got value: x"),
        ("training:\n  bogus: 3\n", "Group 'training' does not accept option 'bogus'"),
        ("training:\n  epochs: [1,\n", "not a recipe in YAML"),
    ],
)
def test_a_fault_in_a_recipe_is_one_line_with_its_file(content: str, fault: str, tmp_path: Path) -> None:
    path = tmp_path / RECIPE_FILE
    path.write_text(content)
    with pytest.raises(UserError, match=rf"^{path}: {fault}") as error:
        load_recipe(tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=rf"^{path}: {fault}"):
        begin_run(update_options(["--config", str(path)]), tmp_path / "exp", ["train"])


def test_encoder_features_and_topology_are_those_of_the_model_to_start_from(package: Path) -> None:
    options = resolve_options(["--training.init_from", str(package), "--encoder.dim", "32", "--graph.context", "left"])
    assert make_recipe(options).encoder == ENCODER
    assert options["graph"]["context"] == "none" and options["features"]["num_mel_bins"] == 80
    with pytest.raises(FileNotFoundError, match="nowhere: neither a trained experiment nor a packaged model"):
        resolve_options(["--training.init_from", "nowhere"])
    with pytest.raises(UserError, match="librispeech_5h has int8 weights, which cannot be trained; give the exp"):
        resolve_options(["--training.init_from", str(SHIPPED_MODEL)])

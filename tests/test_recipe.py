"""The recipe of an experiment, written and read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from augmem.recipe import Recipe, freeze_recipe, load_recipe, recipe_parser

CONF = Path(__file__).resolve().parents[1] / "conf"


def test_a_written_recipe_reads_back_with_its_data_folder(tmp_path: Path) -> None:
    freeze_recipe(recipe_parser().parse_args(["--corpus.recipe", "kaldi"]), tmp_path)
    expected = Recipe()
    assert load_recipe(tmp_path) == replace(
        expected, corpus=replace(expected.corpus, recipe="kaldi"), data="data/kaldi"
    )


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_in_conf_is_valid(path: Path, tmp_path: Path) -> None:
    freeze_recipe(recipe_parser().parse_args(["--config", str(path)]), tmp_path)


def test_a_folder_without_recipe_is_reported_with_the_command_that_starts_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such experiment; ./run.sh --exp .* starts one"):
        load_recipe(tmp_path)

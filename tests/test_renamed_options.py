"""Option names of the previous release on the command line, in YAML files and in old experiments."""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from augmem.errors import UserError
from augmem.recipe import RECIPE_FILE, Recipe, load_recipe, recipe_parser, resolve_options
from augmem.renamed_options import RENAMED, update_options

RECIPES = sorted((Path(__file__).parent / "fixtures" / "recipes").glob("*.yaml"))  # written at commit b45df11
NOTE = "option training.weights is now training.checkpoint_averaging; the old name is accepted until the next release"


def freeze(exp: Path, *options: str) -> Recipe:
    (exp / RECIPE_FILE).write_text(yaml.safe_dump(resolve_options(update_options(list(options)))))
    return load_recipe(exp)


def test_the_command_line_accepts_an_old_name_with_a_note(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert freeze(tmp_path, "--training.weights", "last").training.checkpoint_averaging == "last"
        assert freeze(tmp_path, "--training.weights=best").training.checkpoint_averaging == "best"
    assert caplog.messages == [NOTE, NOTE]


def test_a_yaml_file_may_use_old_names_and_later_options_override_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("training:\n  weights: last\n  epochs: 7\nencoder:\n  dim: 96\n  heads: 4\n")
    with caplog.at_level(logging.WARNING):
        recipe = freeze(tmp_path, f"--config={path}", "--training.epochs", "5")
    assert (recipe.training.checkpoint_averaging, recipe.training.epochs, recipe.encoder.dim) == ("last", 5, 96)
    assert caplog.messages == [NOTE]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_an_experiment_of_the_previous_release_loads(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / RECIPE_FILE)
    recipe, written = load_recipe(tmp_path), yaml.safe_load(path.read_text())
    assert recipe.training.min_lr_ratio == written["training"]["final_learning_rate"]
    assert asdict(recipe.training.batches)["max_duration"] == written["training"]["batches"]["max_duration"] == 60
    assert (recipe.encoder.type, recipe.encoder.layers) == (path.stem, 6)


def test_every_new_name_is_an_option() -> None:
    options = {action.dest for action in recipe_parser()._actions}
    assert set(RENAMED.values()) <= options
    assert not set(RENAMED) & options


# Each line has twice the values of the line before.
ALIASES = b"a: &a {x: 1}\n" + b"".join(b"%c: &%c {x: *%c, y: *%c}\n" % (n, n, n - 1, n - 1) for n in range(98, 118))
LISTS = b"a: &a [1]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (n, n, n - 1, n - 1) for n in range(98, 118))
MERGES = b"a: &a {x: 1}\n" + b"".join(b"%c: &%c {<<: [*%c, *%c]}\n" % (n, n, n - 1, n - 1) for n in range(98, 118))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"lang:\n  units: a\nencode\ntraining:\n", "not a recipe in YAML .*could not find expected"),
        (b"lang: \xa5\n", "not a recipe in YAML .*can't decode"),
        (b"lang:\n  5: a\n", r"option lang\.5 must be a name"),
        (b"a: " + b"{a: " * 3000, "not a recipe in YAML"),
        (b"a: &a {x: *a}\n", "not a recipe in YAML"),
        (b"- " * 5000 + b"a\n", "not a recipe in YAML"),
        (ALIASES, "over 10000 values"),
        (LISTS, "over 10000 values"),
        (MERGES, "over 10000 values"),
        (b"#" * 1_000_001, "over 1000000 bytes"),
    ],
    ids=["syntax", "Latin-1", "number", "depth", "circle", "lists", "alias bomb", "list bomb", "merge bomb", "size"],
)  # fmt: skip
def test_files_that_are_no_recipe_are_refused(tmp_path: Path, content: bytes, fault: str) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)
    for words in (["--config", str(tmp_path / "mine.yaml")], [f"--config={tmp_path / 'mine.yaml'}"]):
        with pytest.raises(UserError, match=rf"mine\.yaml: .*{fault}"):
            update_options(words)

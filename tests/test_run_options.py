"""Options of a run: the experiment's own unless given, kept stage by stage, and the same in all runs in progress."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from augmem.cli import STAGE_COMMANDS
from augmem.errors import UserError
from augmem.experiment import Experiment
from augmem.files import write_json
from augmem.recipe import RECIPE_FILE, load_recipe
from augmem.run_options import begin_run, keep_options, lock_own_run
from augmem.stage_runner import INPUTS


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    """An experiment with a recipe, whose run has ended."""
    exp = tmp_path / "exp"
    run(exp, ["corpus"], "--training.epochs", "7", "--corpus.recipe", "kaldi", "--corpus.train", '["2024"]')
    return exp


def run(exp: Path, stages: object, *options: str) -> None:
    """Begin a run and let each of its stages accept its inputs."""
    names = list(stages)  # type: ignore[call-overload]
    experiment = Experiment.load(exp, begin_run(list(options), exp, names))
    for stage in names:
        keep_options(experiment, stage)


def test_options_that_are_not_given_are_those_of_the_experiment(exp: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run(exp, ["lm"], "--lm.first_pass_order", "2")
    recipe = load_recipe(exp)
    assert (recipe.training.epochs, recipe.lm.first_pass_order, recipe.corpus.train) == (7, 2, ("2024",))
    assert caplog.messages == [
        f"recipe: options not given are those of {exp}/recipe.yaml (--config FILE replaces them)",
        f"{exp}: lm.first_pass_order: 3 before, 2 now",
    ]


def test_another_recipe_keeps_corpus_and_data(exp: Path) -> None:
    run(exp, ["train"], "--config", "conf/fixture.yaml")
    recipe = load_recipe(exp)
    assert (recipe.training.epochs, recipe.encoder.dim) == (90, 96)
    assert (recipe.corpus.recipe, recipe.data) == ("kaldi", "data/kaldi")


def test_another_corpus_has_another_data_folder(exp: Path) -> None:
    run(exp, ["corpus"], "--corpus.recipe", "folder")
    assert load_recipe(exp).data == "data/folder"


def test_options_of_stages_that_are_not_run_are_without_effect(exp: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(exp, ["decode", "score"], "--training.epochs", "9", "--decoding.nbest", "50")
    assert load_recipe(exp).training.epochs == 7
    assert load_recipe(exp).decoding.nbest == 50
    assert caplog.messages == ["training.epochs: 7 before, 9 now: without effect, its stage is not run"]


def test_a_stage_that_refuses_its_inputs_leaves_the_recipe(exp: Path) -> None:
    written = (exp / RECIPE_FILE).read_bytes()
    begin_run(["--lm.first_pass_arpa", "nowhere.arpa"], exp, ["lm"])
    assert (exp / RECIPE_FILE).read_bytes() == written


def test_other_options_for_a_training_are_refused_before_any_stage(exp: Path) -> None:
    options = Experiment.load(exp).section("training", "encoder", "features")
    write_json(exp / "train" / INPUTS, {**options, "topology": ["modified_ctc", "mono"], "units": "hash"})
    written = (exp / RECIPE_FILE).read_bytes()
    with pytest.raises(
        UserError, match=r"train was started with other inputs \(changed: .*training\.epochs: 7 before, 8"
    ):
        begin_run(["--training.epochs", "8"], exp, ["lang", "train"])
    assert (exp / RECIPE_FILE).read_bytes() == written
    begin_run(["--training.device", "cuda"], exp, ["lang"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_reported_before_the_first_stage(exp: Path) -> None:
    with pytest.raises(UserError, match=r"training\.device is cuda, but torch .* finds no GPU"):
        begin_run(["--training.device", "cuda"], exp, ["corpus", "train"])


def in_run_sh(exp: Path) -> Callable[[], None]:
    """Hold a run with 8 epochs as run.sh does; return a function that ends it."""
    file = (exp.parent / ".exp.run.yaml").open("r+")
    begin_run(["--training.epochs", "8"], exp, ["train"], file.fileno())
    return file.close


def test_a_second_run_must_have_the_same_options(exp: Path) -> None:
    end = in_run_sh(exp)
    with pytest.raises(UserError, match=r"with other options is in progress \(training.epochs: 8 before, 9 now\)"):
        begin_run(["--training.epochs", "9"], exp, ["train"])
    with (
        pytest.raises(UserError, match=r"with other options is in progress \(training.epochs: 8 before, 7 now\)"),
        lock_own_run(exp),
    ):
        pass
    begin_run(["--training.epochs", "8"], exp, ["train"])
    begin_run([], exp, ["decode"])
    end()
    begin_run(["--training.epochs", "9"], exp, ["train"])
    assert yaml.safe_load((exp.parent / ".exp.run.yaml").read_text())["training"]["epochs"] == 9


def test_relative_paths_are_sought_in_the_folder_of_the_caller_first(tmp_path: Path) -> None:
    (tmp_path / "Wörter hier.txt").touch()
    file = begin_run(
        ["--lang.lexicon", "Wörter hier.txt", "--corpus.source", "corpora"],
        tmp_path / "exp",
        STAGE_COMMANDS,
        None,
        tmp_path,
    )
    recipe = load_recipe(tmp_path / "exp", file)
    assert recipe.lang.lexicon == str(tmp_path / "Wörter hier.txt")
    assert recipe.corpus.source == "corpora"

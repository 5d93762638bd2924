"""The options of a run of stages.

run.sh resolves them before its first stage (`begin_run`) into a file beside the experiment. The file is locked as long
as a stage runs, so that a second run cannot have other options. A stage copies its own sections into recipe.yaml when
its result is complete, training when it starts (`keep_options`); a refused run changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from augmem.devices import find_device
from augmem.errors import UserError
from augmem.experiment import Experiment
from augmem.files import read_json, write_text
from augmem.recipe import RECIPE_FILE, make_recipe, parse_options, resolve_options
from augmem.renamed_options import iterate_leaves, update_options
from augmem.run_lock import lock_run, publish, run_file
from augmem.stage_runner import INPUTS, refuse_other_inputs

logger = logging.getLogger(__name__)

SECTIONS = {
    "corpus": ("corpus", "data"),
    "features": ("features", "storage"),
    "lang": ("lang",),
    "lm": ("lm", "neural_lm"),
    "graphs": ("graph",),
    "train": ("encoder", "training"),
    "decode": ("decoding",),
}
"""Stage -> sections of the recipe that it keeps."""


def begin_run(
    words: list[str],
    exp: Path,
    stages: Iterable[str],
    descriptor: int | None = None,
    folder: Path = Path(),
    processes: int = 1,
) -> Path:
    """Resolve the options of a run of stages.

    Without `--config`, options that are not given are those of the experiment, if it exists. Sections of stages that
    are not run keep their values.

    Args:
        words: options as on the command line.
        exp: the experiment folder.
        stages: the stages to run.
        descriptor: descriptor of the run's file; see `lock_run`.
        folder: where relative paths are sought first.
        processes: number of training processes.

    Returns:
        The file with the options.

    Raises:
        UserError: a value is wrong, another run has other options, or training was started with others.
    """
    for config in list_config_files(words):
        parse_options(["--config", config], "" if "\n" in config else config)  # a file, or content with new names
    with lock_run(exp, descriptor) as (file, alone):
        base = exp / RECIPE_FILE if alone else run_file(exp)
        before = read_recipe_options(base)
        options = merge_options(before, resolve_options(add_base_options(words, base, before), folder), stages)
        text = yaml.safe_dump(options, sort_keys=False, allow_unicode=True)
        if not alone and (changed := list_differences(before, options)):
            raise UserError(
                f"{exp}: a run with other options is in progress ({'; '.join(changed)}); "
                "wait for it, stop it, or choose another folder with --exp"
            )
        recipe = make_recipe(options)
        recipe.training.check_processes(processes)
        if "train" in stages:
            find_device(recipe.training.device, "training.device")
            refuse_other_training(Experiment(recipe, exp))
        if "decode" in stages:
            find_device(recipe.decoding.device, "decoding.device")
        if alone:
            publish(file, text)
    for change in list_differences(before, options) if before else []:
        logger.info("%s: %s", exp, change)
    return run_file(exp)


def list_config_files(words: list[str]) -> list[str]:
    """Return the files of `--config`.

    Example:
        >>> list_config_files(["--config", "a.yaml", "--data", "b", "--config=c.yaml"])
        ['a.yaml', 'c.yaml']
    """
    after = [word for before, word in pairwise(words) if before == "--config"]
    return after + [word.partition("=")[2] for word in words if word.startswith("--config=")]


def read_recipe_options(path: Path) -> dict[str, Any]:
    """Read options from a YAML file with current or old names; empty if there is no file."""
    if not path.exists():
        return {}
    return resolve_options(update_options(["--config", str(path)]), Path(), str(path))


def add_base_options(words: list[str], base: Path, before: Mapping[str, Any]) -> list[str]:
    """Put the options of the experiment before those given; with `--config` only its corpus and its data folder."""
    if not before:
        return words
    names = [word.partition("=")[0] for word in words]
    kept = dict(before)
    if "--config" in names:
        kept = {name: before[name] for name in SECTIONS["corpus"]}
    else:
        logger.info("recipe: options not given are those of %s (--config FILE replaces them)", base)
    if "--corpus.recipe" in names and "--data" not in names:
        corpus = words[names.index("--corpus.recipe") + 1]
        if corpus != before["corpus"]["recipe"]:
            del kept["data"]
    return ["--config", yaml.safe_dump(kept, allow_unicode=True), *words]


def merge_options(before: Mapping[str, Any], now: Mapping[str, Any], stages: Iterable[str]) -> dict[str, Any]:
    """Return `now`, with the sections of `before` for stages that are not run; warn of options without effect."""
    others = [name for stage, names in SECTIONS.items() if stage not in stages for name in names if name in before]
    kept = {**now, **{name: before[name] for name in others}}
    for change in list_differences(kept, now):
        logger.warning("%s: without effect, its stage is not run", change)
    return kept


def list_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the options that differ, with both values.

    Example:
        >>> list_differences({"training": {"epochs": 20, "clip": 5.0}}, {"training": {"epochs": 3, "clip": 5.0}})
        ['training.epochs: 20 before, 3 now']
    """
    old, new = dict(iterate_leaves(before)), dict(iterate_leaves(now))
    return [f"{name}: {old.get(name)} before, {value} now" for name, value in new.items() if old.get(name) != value]


def refuse_other_training(experiment: Experiment) -> None:
    """Refuse options other than those a training was started with, before any stage runs.

    Raises:
        UserError: an option differs.
    """
    started = experiment.training / INPUTS
    if started.exists():
        graph = experiment.recipe.graph
        options = experiment.section("training", "encoder", "features")
        inputs = {**read_json(started), **options, "topology": [graph.topology, graph.context]}
        refuse_other_inputs("train", experiment.training, inputs)


@contextmanager
def lock_own_run(exp: Path) -> Iterator[None]:
    """Lock an experiment for a stage that was not started by run.sh and has the experiment's own options.

    Raises:
        UserError: a run with other options is in progress.
    """
    if not (exp / RECIPE_FILE).exists():
        yield
        return
    with lock_run(exp) as (file, alone):
        own = read_recipe_options(exp / RECIPE_FILE)
        if alone:
            publish(file, yaml.safe_dump(own, sort_keys=False, allow_unicode=True))
        elif changed := list_differences(read_recipe_options(run_file(exp)), own):
            raise UserError(f"{exp}: a run with other options is in progress ({'; '.join(changed)}); wait for it")
        yield


def keep_options(experiment: Experiment, stage: str) -> None:
    """Copy the options of a stage from those of the run into recipe.yaml."""
    path = experiment.root / RECIPE_FILE
    if experiment.run is None or (stage not in SECTIONS and path.exists()):
        return
    options = yaml.safe_load(experiment.run.read_text(encoding="utf-8"))
    before = read_recipe_options(path)
    kept = {**options, **before, **{name: options[name] for name in SECTIONS.get(stage, ())}}
    if kept != before:
        write_text(path, yaml.safe_dump(kept, sort_keys=False, allow_unicode=True))

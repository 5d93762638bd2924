"""Graphs that training reads, in a folder of their own: numerators, denominator, phone LM and context."""

from __future__ import annotations

from functools import partial
from typing import Any

from augmem.automata import prepare_training_graphs
from augmem.errors import UserError
from augmem.experiment import Experiment
from augmem.files import read_json, sha256_json
from augmem.graph import BIPHONES_FILE, Biphone, Kind, pronunciations_hash, read_biphones
from augmem.lang import Lang
from augmem.stage_runner import DONE, differing_inputs, fingerprint, run_stage

GRAPHS_FORMAT = 4  # 3: with numerators and denominator; 4: texts of a file in one entry


def build_training_graphs(experiment: Experiment, jobs: int, scheduler: str | None) -> None:
    """Build all graphs that training reads, which depend on transcripts and pronunciations only.

    Args:
        experiment: the experiment.
        jobs: number of worker processes.
        scheduler: address of a Dask scheduler whose workers are used instead.
    """
    config, kinds = experiment.recipe.graph, numerator_kinds(experiment)
    train, dev = experiment.texts(experiment.parts.train), experiment.texts(experiment.parts.dev)
    run_stage(
        "training graphs",
        experiment.training_graphs,
        training_graph_inputs(experiment),
        partial(
            prepare_training_graphs, config, experiment.lang, train, dev_texts=dev, kinds=kinds, jobs=jobs,
            scheduler=scheduler,
        ),
        reads=[experiment.manifests, experiment.lang],
    )  # fmt: skip


def training_graph_inputs(experiment: Experiment) -> dict[str, Any]:
    """Return the inputs of the training graphs."""
    train, dev = experiment.texts(experiment.parts.train), experiment.texts(experiment.parts.dev)
    return experiment.section("graph") | {
        "format": GRAPHS_FORMAT,
        "train texts": sha256_json(train),
        "dev texts": sha256_json(dev),
        "pronunciations": pronunciations_hash(Lang.load(experiment.lang), [*train, *dev]),
        "numerators": numerator_kinds(experiment),
    }


def numerator_kinds(experiment: Experiment) -> tuple[Kind, ...]:
    """Return the kinds of numerators that training uses."""
    return ("ctc", "mmi") if experiment.recipe.training.uses_mmi else ("ctc",)


def read_context(experiment: Experiment) -> tuple[Biphone, ...]:
    """Read the biphones that training uses."""
    return read_biphones(experiment.training_graphs / BIPHONES_FILE, Lang.load(experiment.lang).tokens)


def check_training_graphs(experiment: Experiment) -> None:
    """Refuse to train with graphs of other transcripts, pronunciations or options.

    Raises:
        FileNotFoundError: there are no graphs.
        UserError: they are out of date.
    """
    folder = experiment.training_graphs
    fingerprint(folder)
    if changed := differing_inputs(read_json(folder / DONE).get("inputs", {}), training_graph_inputs(experiment)):
        raise UserError(
            f"{folder}: out of date (changed: {'; '.join(changed)}); run: augmem graphs --exp {experiment.root}"
        )

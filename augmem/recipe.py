"""A recipe: one dataclass per component, read from conf/*.yaml, changed by options, frozen into the experiment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from augmem.corpus import CorpusConfig, StorageConfig
from augmem.decoding import DecodingConfig
from augmem.encoder import EncoderConfig
from augmem.features import FeatureConfig
from augmem.files import write_text
from augmem.graph import GraphConfig
from augmem.lang import LangConfig, LmConfig, NeuralLmConfig
from augmem.training import TrainingConfig

RECIPE_FILE = "recipe.yaml"


@dataclass(frozen=True)
class Recipe:
    """All that determines an experiment's result.

    The files in conf/ leave `corpus` and `data` alone, so that any of them runs on any corpus.

    Args:
        corpus: which speech, and which of its parts serve as train, dev and test.
        data: folder of the corpus' audio, manifests and features.
        features: what the model hears.
        storage: how features lie on disk.
        lang: units, lexicon and words.
        lm: n-gram language models.
        neural_lm: a recurrent language model for n-best lists, if wanted.
        graph: topology, phone language model and decoding graph.
        encoder: the acoustic encoder.
        training: objective, schedule and batches.
        decoding: beams, n-best lists and the grid that is tuned on dev.
    """

    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    data: str = "data/amazon_queen"
    features: FeatureConfig = field(default_factory=FeatureConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    lang: LangConfig = field(default_factory=LangConfig)
    lm: LmConfig = field(default_factory=LmConfig)
    neural_lm: NeuralLmConfig = field(default_factory=NeuralLmConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)


def recipe_parser(**options: Any) -> ArgumentParser:
    """A parser with one option per field of the recipe, and `--config FILE` for a YAML file of them."""
    parser = ArgumentParser(**options)
    parser.add_argument("--config", action="config", help="a YAML file from conf/; later options override it")
    parser.add_class_arguments(Recipe)
    return parser


def freeze_recipe(options: list[str], exp: Path, processes: int = 1) -> Path:
    """Resolve a recipe's options and write it whole into the experiment folder; return the file.

    Args:
        processes: that will train together.

    Raises:
        ValueError: an update cannot be shared by so many.
        SystemExit: an option or a value is wrong (jsonargparse says which and why).
    """
    parser = recipe_parser(prog="augmem recipe")
    values = parser.parse_args(options)
    recipe = parser.instantiate_classes(values)  # the dataclasses check their own values
    recipe.training.check_processes(processes)
    values.pop("config", None)
    path = exp / RECIPE_FILE
    write_text(path, parser.dump(values, skip_none=False))
    return path


def load_recipe(exp: Path) -> Recipe:
    """Read the recipe that an experiment was begun with.

    Raises:
        FileNotFoundError: there is no experiment in that folder.
    """
    path = exp / RECIPE_FILE
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such experiment; ./run.sh --exp {exp} begins one")
    parser = recipe_parser()
    values = parser.instantiate_classes(parser.parse_args(["--config", str(path)]))
    values.pop("config", None)
    return Recipe(**vars(values))

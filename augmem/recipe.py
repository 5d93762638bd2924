"""The recipe of an experiment: one dataclass per component, read from conf/*.yaml and overridden by options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from augmem.corpus import CorpusConfig, StorageConfig
from augmem.decoding import DecodingConfig
from augmem.encoder import EncoderConfig
from augmem.errors import OptionError, UserError
from augmem.features import FeatureConfig
from augmem.graph import GraphConfig
from augmem.installation import pipeline
from augmem.lang import LangConfig, LmConfig, NeuralLmConfig
from augmem.model import AcousticModel, find_trained_model
from augmem.onnx_package import is_onnx_package
from augmem.renamed_options import update_options
from augmem.training import TrainingConfig

RECIPE_FILE = "recipe.yaml"
PATHS = (
    "corpus.mix",
    "corpus.source",
    "lang.extra_vocabulary",
    "lang.lexicon",
    "lm.extra_text",
    "lm.first_pass_arpa",
    "lm.rescoring_arpa",
    "training.alignment",
    "training.batches.noise.source",
    "training.batches.reverb.source",
    "training.init_from",
)
"""Options whose values are paths of files that a user brings."""


@dataclass(frozen=True)
class Recipe:
    """All options that determine the results of an experiment.

    The files in conf/ do not set `corpus` and `data`, so each of them can be used with every corpus.

    Args:
        corpus: speech, and its division into train, dev and test parts.
        data: folder of audio, manifests and features; empty: data/<corpus.recipe>.
        features: log-mel features.
        storage: file format of features.
        lang: units, lexicon and words.
        lm: n-gram language models.
        neural_lm: recurrent language model that rescores n-best lists; off by default.
        graph: topology, phone language model and decoding graph.
        encoder: acoustic encoder.
        training: objective, schedule and batches.
        decoding: beams, n-best lists and the scales tuned on dev.

    Example:
        >>> Recipe(data="data/mine").encoder.type
        'augmented_memory'
    """

    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    data: str = ""
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
    """Return a parser with one option per field of the recipe, and `--config FILE` for a YAML file of options."""
    parser = ArgumentParser(**options)
    parser.add_argument("--config", action="config", help="YAML file, as in conf/; later options override it")
    parser.add_class_arguments(Recipe)
    return parser


_shared_parser = cache(partial(recipe_parser, exit_on_error=False))  # making one takes longer than parsing


def parse_options(words: list[str], name: str = "") -> Namespace:
    """Parse options as on the command line of `recipe_parser`.

    Args:
        words: the options.
        name: name of the file that they come from, for the message.

    Raises:
        OptionError: there is no such option, or it has a value of another type.
    """
    try:
        return _shared_parser().parse_args(words)
    except ArgumentError as error:
        reason = re.sub(r"Parser key \"([\w.]+)\"|<class '(\w+)'>", r"\1\2", " ".join(str(error).split()))
        raise OptionError(f"{name and name + ': '}{reason}; augmem recipe --help lists the options") from error


def resolve_options(words: list[str], folder: Path = Path(), name: str = "") -> dict[str, Any]:
    """Return the values of all options as plain data.

    Args:
        words: options as on the command line of `recipe_parser`.
        folder: where relative paths in options are sought first; then they are relative to the working directory.
        name: name of the file that the options come from, for error messages.

    Raises:
        UserError: a value is out of range.
    """
    parser, values = _shared_parser(), parse_options(words, name)
    values.pop("config", None)
    _check_sections(values, Recipe)
    values.data = values.data or f"data/{values.corpus.recipe}"
    for option in PATHS:
        values[option] = resolve_paths(values[option], folder)
    if values.training.init_from:
        adopt_model(values, Path(values.training.init_from))
    instantiate(parser, values)
    options: dict[str, Any] = yaml.safe_load(parser.dump(values, skip_none=False))
    return options


def adopt_model(values: Namespace, folder: Path) -> None:
    """Set the options of encoder, features and topology to those of the model that training starts from.

    Args:
        values: options parsed by `recipe_parser`.
        folder: experiment or package of the model.

    Raises:
        FileNotFoundError: there is no model.
        UserError: the model has biphones, whose choice depends on its transcripts, or int8 weights.
    """
    if is_onnx_package(folder):
        raise UserError(
            f"training.init_from: {folder} has int8 weights, which cannot be trained; give the experiment that it was "
            "exported from (local/make_shipped_model.sh of a clone makes that of the model that comes with augmem)"
        )
    described = AcousticModel.load(find_trained_model(folder).model).description
    if described.biphones:
        raise UserError(f"{folder}: a model with biphones cannot be fine-tuned; use one with --graph.context none")
    for option in fields(described.encoder):
        values[f"encoder.{option.name}"] = getattr(described.encoder, option.name)
    for name, value in described.features.items():
        if name not in ("speed_perturb", "extractor"):  # of the stored features alone
            values[f"features.{name}"] = value
    values["graph.topology"], values["graph.context"] = described.topology, "none"


def resolve_paths(value: Any, folder: Path) -> Any:
    """Return a path, or a list of paths, with those that exist in `folder` relative to it.

    Example:
        >>> resolve_paths(None, Path("/")), resolve_paths(["etc", "nowhere"], Path("/"))
        (None, ['/etc', 'nowhere'])
    """
    if isinstance(value, (list, tuple)):
        return [resolve_paths(each, folder) for each in value]
    return str(folder / value) if value and (folder / value).exists() else value


def load_recipe(exp: Path, run: Path | None = None) -> Recipe:
    """Read the recipe of an experiment.

    Args:
        exp: the experiment folder.
        run: file with the options of a run of stages, instead of the experiment's own.

    Raises:
        FileNotFoundError: the folder has no recipe.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     size = (Path(folder) / "recipe.yaml").write_text("training: {epochs: 3}")
        ...     recipe = load_recipe(Path(folder))
        >>> recipe.training.epochs
        3
    """
    path = run or exp / RECIPE_FILE
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such experiment; {pipeline()} --exp {exp} starts one")
    return instantiate(_shared_parser(), parse_options(update_options(["--config", str(path)]), str(path)))


def make_recipe(options: Mapping[str, Any]) -> Recipe:
    """Return the recipe with the options of `resolve_options`."""
    parser = _shared_parser()
    return instantiate(parser, parser.parse_object(dict(options)))


def instantiate(parser: ArgumentParser, values: Namespace) -> Recipe:
    """Return the recipe with these values; each dataclass checks its own.

    Raises:
        UserError: a value is out of range, null or a section is none.
    """
    _check_sections(values, Recipe)
    fields = vars(parser.instantiate_classes(values))
    return Recipe(**{name: value for name, value in fields.items() if name != "config"})


def _check_sections(values: Any, kind: type, prefix: str = "") -> None:
    """Refuse values that jsonargparse accepts in files: null for any option, and any value for a section of options."""
    for name, expected in get_type_hints(kind).items():
        option, value = prefix + name, values[name]
        if isinstance(expected, type) and is_dataclass(expected):
            if not isinstance(value, Namespace):
                raise UserError(f"{option} is {value!r}, but has options of its own, as in conf/; write them below it")
            _check_sections(value, expected, f"{option}.")
        elif value is None and type(None) not in get_args(expected):
            raise UserError(f"{option} has no value; write one, or delete its line")

"""Option names of the previous release, accepted for one release with a note."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import yaml

from augmem.errors import UserError

logger = logging.getLogger(__name__)

_CONFIG = "--config="
_MAX_BYTES, _MAX_VALUES = 1_000_000, 10_000
RENAMED: dict[str, str] = {
    "decoding.insertion_penalties": "decoding.word_insertion_bonuses",
    "training.final_learning_rate": "training.min_lr_ratio",
    "training.weights": "training.checkpoint_averaging",
}
"""Old name -> new name, both as in `--section.field`."""


def update_options(options: list[str]) -> list[str]:
    """Replace old option names, on the command line and in the files of `--config`.

    Args:
        options: words of the command line.

    Returns:
        the same words with new names. A YAML file with old names is replaced by its content with new names.

    Example:
        >>> update_options(["--training.weights", "last", "--training.epochs=3"])
        ['--training.checkpoint_averaging', 'last', '--training.epochs=3']
    """
    words = [update_word(word) for word in options]
    for place, word in enumerate(words):
        if word.startswith(_CONFIG):
            words[place] = _CONFIG + update_file(word[len(_CONFIG) :])
        elif place and words[place - 1] == _CONFIG[:-1]:
            words[place] = update_file(word)
    return words


def update_word(word: str) -> str:
    """Replace an old option name in `--name` or `--name=value`."""
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    return f"--{update_name(name)}{equals}{value}"


def update_name(name: str) -> str:
    """Return the new name of an option and log a note if it has been renamed."""
    if name not in RENAMED:
        return name
    logger.warning("option %s is now %s; the old name is accepted until the next release", name, RENAMED[name])
    return RENAMED[name]


def update_file(path: str) -> str:
    """Return the path of a YAML file, or its content with new names if it uses old ones.

    Raises:
        UserError: the file is not YAML, or has more values than a recipe can have.
    """
    if not Path(path).is_file():
        return path
    values = read_yaml_options(Path(path))
    if not any(name in RENAMED for name in values):
        return path
    return yaml.safe_dump({update_name(name): value for name, value in values.items()})


def read_yaml_options(path: Path) -> dict[str, Any]:
    """Read the options of a YAML file under dotted names.

    Raises:
        UserError: the file is not YAML, or has more values than a recipe can have, as by nested aliases.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{path}: over {_MAX_BYTES} bytes; a recipe is smaller: give a file as in conf/")
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        count = len(list(islice(_nodes(node), _MAX_VALUES)))
        values = loader.construct_document(node) if node and count < _MAX_VALUES else None
        options = dict(iterate_leaves(values)) if isinstance(values, dict) else {}
    except (ArithmeticError, RecursionError, TypeError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not a recipe in YAML ({reason}); write it as the files in conf/") from error
    if count == _MAX_VALUES:
        raise UserError(f"{path}: over {_MAX_VALUES} values; a recipe has fewer: write it as the files in conf/")
    return options


def _nodes(node: yaml.Node | None) -> Iterator[yaml.Node]:
    """Yield a node and all below it, once for every alias."""
    if node is None:
        return
    yield node
    if isinstance(node, yaml.MappingNode):
        for child in chain.from_iterable(node.value):
            yield from _nodes(child)
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from _nodes(child)


def iterate_leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested values under dotted names.

    Example:
        >>> list(iterate_leaves({"training": {"epochs": 3}, "data": "data/mine"}))
        [('training.epochs', 3), ('data', 'data/mine')]
    """
    for name, value in values.items():
        if not isinstance(name, str):
            raise TypeError(f"option {prefix}{name} must be a name")
        if isinstance(value, dict):
            yield from iterate_leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value

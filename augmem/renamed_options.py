"""Option names of the previous release, accepted for one release with a note."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

logger = logging.getLogger(__name__)

RENAMED: dict[str, str] = {
    "decoding.insertion_penalties": "decoding.word_insertion_bonuses",
    "training.final_learning_rate": "training.min_lr_ratio",
    "training.weights": "training.checkpoint_averaging",
}
"""Old name -> new name, both as in `--section.field`."""


def current_options(options: list[str]) -> list[str]:
    """Replace old option names, on the command line and in the files of `--config`.

    Args:
        options: words of the command line.

    Returns:
        The same words with new names. A YAML file with old names is replaced by its content with new names.

    Example:
        >>> current_options(["--training.weights", "last", "--training.epochs=3"])
        ['--training.checkpoint_averaging', 'last', '--training.epochs=3']
    """
    words = [current_word(word) for word in options]
    files = [place + 1 for place, word in enumerate(words[:-1]) if word == "--config"]
    return [current_file(word) if place in files else word for place, word in enumerate(words)]


def current_word(word: str) -> str:
    """Replace an old option name in `--name` or `--name=value`."""
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    return f"--{current_name(name)}{equals}{value}"


def current_name(name: str) -> str:
    """Return the new name of an option and log a note if it has been renamed."""
    if name not in RENAMED:
        return name
    logger.warning("option %s is now %s; the old name is accepted until the next release", name, RENAMED[name])
    return RENAMED[name]


def current_file(path: str) -> str:
    """Return the path of a YAML file, or its content with new names if it uses old ones."""
    if not Path(path).is_file():
        return path
    values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(values, dict) or not any(name in RENAMED for name, _ in leaves(values)):
        return path
    return yaml.safe_dump({current_name(name): value for name, value in leaves(values)})


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested values under dotted names.

    Example:
        >>> list(leaves({"training": {"epochs": 3}, "data": "data/mine"}))
        [('training.epochs', 3), ('data', 'data/mine')]
    """
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value

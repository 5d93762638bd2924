"""Options that several subcommands share, or that are derived from a dataclass."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docstring_parser import parse as parse_docstring

from augmem.shipped import SHIPPED_MODEL

if TYPE_CHECKING:
    from augmem.decoding import SearchConfig
    from augmem.low_rank import LowRank
    from augmem.streaming import HotwordLine

SEARCH_OPTIONS: Mapping[str, tuple[type, str]] = {
    "search_beam": (float, "beam of the search in nats; smaller is faster"),
    "output_beam": (float, "beam of the lattices in nats; smaller is faster"),
    "max_active": (int, "maximum number of graph states in each frame; fewer is faster"),
}


def add_dataclass_options(
    parser: argparse.ArgumentParser, options: type, omit: Collection[str] = (), **types: type
) -> None:
    """Add one option per field of a dataclass, with its default and the text of its docstring.

    Args:
        parser: parser to add the options to.
        options: the dataclass.
        omit: fields without an option.
        types: types of the fields whose default is None or missing.
    """
    documented = parse_docstring(options.__doc__ or "").params
    texts = {item.arg_name: (item.description or "").rstrip(".").replace("%", "%%") for item in documented}
    for option in fields(options):
        if option.name in omit:
            continue
        is_list, flag = isinstance(option.default, tuple), f"--{option.name.replace('_', '-')}"
        kind = types.get(option.name, str if option.default is None or is_list else type(option.default))
        shown = "" if option.default in (None, ()) else " (%(default)s)"
        parser.add_argument(
            flag, type=kind, nargs="+" if is_list else None, default=option.default, help=f"{texts[option.name]}{shown}"
        )


def read_dataclass_options(arguments: argparse.Namespace, options: type) -> dict[str, Any]:
    """Return the values of the options that `add_dataclass_options` added."""
    given = {option.name: getattr(arguments, option.name) for option in fields(options)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def add_package_option(parser: argparse.ArgumentParser, commands: str) -> None:
    """Add the option --package; `commands` make packages."""
    text = f"folder made by {commands} (default: the English model that comes with augmem)"
    parser.add_argument("--package", type=Path, default=SHIPPED_MODEL, help=text)


def add_search_options(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the options that change the search of a packaged model or of a recipe.

    Args:
        parser: parser to add the options to.
        default: source of the default values, for the help.
    """
    group = parser.add_argument_group("search", f"default: {default}")
    for name, (kind, text) in SEARCH_OPTIONS.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)


def add_low_rank_option(parser: argparse.ArgumentParser) -> None:
    """Add the option --low-rank."""
    parser.add_argument(
        "--low-rank", type=float, nargs=2, metavar=("FIRST", "LAST"),
        help="truncate the key and value projections to ranks of these shares of encoder.dim, in the first and in the "
        "last layer, such as 0.5 0.25; those between follow from the weights (arXiv 2410.03111; default: full rank)",
    )  # fmt: skip


def read_low_rank_option(arguments: argparse.Namespace) -> LowRank | None:
    """Return the ranks of the command line, if any.

    Raises:
        UserError: a share is out of range.
    """
    from augmem.low_rank import LowRank

    return LowRank(*arguments.low_rank) if arguments.low_rank else None


def add_hotword_option(parser: argparse.ArgumentParser, streams: str) -> None:
    """Add the option --hotwords; `streams` names what they apply to."""
    parser.add_argument(
        "--hotwords", type=Path, metavar="FILE", help=f"phrase<TAB>bonus lines: phrases that are likely in {streams}"
    )


def read_hotword_option(arguments: argparse.Namespace) -> tuple[HotwordLine, ...]:
    """Return the hotwords of the command line.

    Raises:
        FileNotFoundError: no such file.
        UserError: the file has none, or an invalid line.
    """
    from augmem.streaming import read_hotwords

    return tuple(read_hotwords(arguments.hotwords)) if arguments.hotwords else ()


def change_search(arguments: argparse.Namespace, search: SearchConfig) -> SearchConfig:
    """Replace search options by those given on the command line.

    Raises:
        UserError: a value is out of range.
    """
    given = {name: getattr(arguments, name) for name in SEARCH_OPTIONS}
    return replace(search, **{name: value for name, value in given.items() if value is not None})

"""Print docs/options.md: all options of a recipe, from its dataclasses.

.venv/bin/python -m local.options >docs/options.md
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from docstring_parser import parse as parse_docstring

from augmem.recipe import Recipe

HEAD = """# Options

All options of a recipe, with their defaults. Set them in a YAML file (`--config FILE`), or on the command line of
`./run.sh` and `augmem run`, as in `--training.epochs 3`. A list is written as `[1, 2]`; `null` stands for no value.
Times are in seconds. The recipes in `conf/` set some of the options. `augmem recipe --help` prints them too.

This page is generated: `.venv/bin/python -m local.options >docs/options.md`.
"""


class Option(NamedTuple):
    """A row of the table.

    Args:
        name: name as on the command line, without dashes.
        type: type or choices.
        default: default value in YAML.
        meaning: text of the docstring.
    """

    name: str
    type: str
    default: str
    meaning: str


def options(component: type, prefix: str = "") -> Iterator[Option]:
    """Yield the options of a dataclass and of those in its fields."""
    hints = get_type_hints(component)
    documented = (item for base in component.__mro__ for item in parse_docstring(base.__doc__ or "").params)
    texts = {item.arg_name: item.description or "" for item in documented}
    for field in fields(component):
        name, hint = prefix + field.name, hints[field.name]
        if is_dataclass(hint):
            yield from options(hint, f"{name}.")
        else:
            yield Option(name, type_name(hint), json.dumps(default(field)), " ".join(texts[field.name].split()))


def default(field: Field[Any]) -> Any:
    """Return the default value of a field."""
    return field.default_factory() if field.default_factory is not MISSING else field.default


def type_name(hint: Any) -> str:
    """Return a type as plain text.

    Example:
        >>> type_name(int | None), type_name(tuple[str, ...]), type_name(Literal["a", "b"])
        ('int or null', 'list of str', 'a, b')
    """
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return ", ".join(map(str, arguments))
    if get_origin(hint) is Union or type(hint).__name__ == "UnionType":
        return " or ".join(map(type_name, arguments))
    if get_origin(hint) is tuple:
        return f"list of {type_name(arguments[0])}"
    return "null" if hint is type(None) else hint.__name__


def page() -> str:
    """Return the page."""
    sections: dict[str, list[Option]] = {}
    for option in options(Recipe):
        sections.setdefault(option.name.rpartition(".")[0], []).append(option)
    return "\n".join([HEAD, *(table(name, rows) for name, rows in sections.items())])


def table(section: str, rows: list[Option]) -> str:
    """Return the table of a section."""
    cells = [(f"`{row.name}`", row.type, f"`{row.default}`", row.meaning) for row in rows]
    lines = ["| " + " | ".join(text.replace("|", "\\|").replace("<", "&lt;") for text in row) + " |" for row in cells]
    head = f"## {section or 'data'}\n\n| option | type | default | meaning |\n|---|---|---|---|"
    return "\n".join([head, *lines, ""])


if __name__ == "__main__":
    print(page(), end="")

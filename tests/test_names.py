"""Names of the package: one name for one thing."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "augmem"
OF_COMMANDS = {"add_options", "check_options", "main", "run"}  # every command module has its own


def test_public_classes_and_functions_have_names_of_their_own() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith(
                "_"
            ):
                places[node.name].add(str(path.relative_to(PACKAGE)))
    repeated = {name: files for name, files in places.items() if len(files) > 1}
    assert not repeated.keys() - OF_COMMANDS, repeated

"""The public interface: `augmem.__all__`."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import augmem

SOURCE = Path(augmem.__file__)


@pytest.mark.parametrize("name", augmem.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    value = getattr(augmem, name)
    assert name == "ENCODERS" or value.__doc__


def test_type_checkers_see_the_same_names() -> None:
    (block,) = (node for node in ast.parse(SOURCE.read_text(encoding="utf-8")).body if isinstance(node, ast.If))
    imported = {
        alias.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert imported == {name: f"augmem.{module}" for module, names in augmem.PUBLIC.items() for name in names}
    assert sorted(augmem.__all__) == sorted(imported)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Recogniser'"):
        augmem.Recogniser  # noqa: B018


def test_import_is_quick_and_sets_no_environment_variable() -> None:
    script = """
import json, os, sys, time
before, started = dict(os.environ), time.process_time()
import augmem
seconds = time.process_time() - started
print(json.dumps([seconds, before == dict(os.environ), sorted({"torch", "numpy", "k2", "lhotse"} & set(sys.modules))]))
"""
    environment = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, env=environment).stdout
    seconds, unchanged, loaded = json.loads(output)
    assert seconds < 0.2
    assert unchanged
    assert loaded == []

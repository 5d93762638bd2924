"""The lazy exports of augmem.graph."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import augmem.graph
import augmem.graph.prepare  # imports most modules, which then are attributes of the package


def test_every_exported_name_is_an_object_and_no_module() -> None:
    for name in augmem.graph.__all__:
        assert not isinstance(getattr(augmem.graph, name), ModuleType), name


def test_options_and_origins_are_imported_without_k2() -> None:
    script = "import sys; from augmem.graph import GraphConfig, Origin, context_hash; assert 'k2' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)

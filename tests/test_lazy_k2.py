"""k2 is imported on first use; without it the message names the remedy."""

from __future__ import annotations

import ast
import subprocess
import sys
from operator import attrgetter
from pathlib import Path

import pytest

import augmem
from augmem.errors import UserError
from augmem.lazy_k2 import LazyModule

# Equal in both releases, unlike OnlineDenseIntersecter.decode: a new stream is None in 1.23, DecodeStateInfo() in 1.24.
EQUAL_IN_K2_1_23_AND_1_24 = {
    "_k2.RaggedArc", "k2.DenseFsaVec", "k2.Fsa", "k2.Fsa.from_dict", "k2.Fsa.from_openfst", "k2.RaggedShape",
    "k2.RaggedTensor", "k2.arc_sort", "k2.compose", "k2.connect", "k2.create_fsa_vec", "k2.ctc_graph", "k2.ctc_topo",
    "k2.determinize", "k2.index_fsa", "k2.intersect", "k2.intersect_dense", "k2.linear_fsa",
    "k2.linear_fsa_with_self_loops", "k2.ragged", "k2.ragged.create_ragged_shape2", "k2.remove_epsilon",
    "k2.shortest_path", "k2.top_sort", "k2.with_cuda",
}  # fmt: skip


def test_recipe_training_streaming_and_scoring_are_imported_without_k2() -> None:
    script = "import sys, augmem.recipe, augmem.streaming, augmem.stages; assert not {'k2', '_k2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("name", ["k2", "_k2"])
def test_a_missing_k2_is_an_error_with_a_remedy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # makes `import` raise ModuleNotFoundError
    with pytest.raises(UserError, match=r"k2 is not installed for .*python.*wheel pages of k2"):
        _ = LazyModule(name).Fsa


def test_a_k2_that_cannot_be_loaded_is_an_error_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError("libpython3.11.so.1.0: cannot open shared object file")

    monkeypatch.setattr("augmem.lazy_k2.import_module", broken)
    with pytest.raises(UserError, match=r"cannot be imported by .*libpython3\.11\.so\.1\.0"):
        _ = LazyModule("k2").Fsa


def test_names_of_an_installed_module_are_its_own() -> None:
    import math

    assert LazyModule("math").pi == math.pi


def names_of_k2() -> set[str]:
    """Return all names of k2 and of its extension module that occur in augmem."""
    texts = [path.read_text(encoding="utf-8") for path in Path(augmem.__file__).parent.rglob("*.py")]
    nodes = [node for text in texts if "k2." in text for node in ast.walk(ast.parse(text))]
    names = [ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)]
    return {name for name in names if name.startswith(("k2.", "_k2.")) and name.replace(".", "").isidentifier()}


def test_only_names_that_are_equal_in_k2_1_23_and_1_24_are_used() -> None:
    assert names_of_k2() == EQUAL_IN_K2_1_23_AND_1_24


def test_the_installed_k2_has_all_names_that_are_used() -> None:
    installed = {name: pytest.importorskip(name) for name in ("k2", "_k2")}
    for name in EQUAL_IN_K2_1_23_AND_1_24:
        module, _, path = name.partition(".")
        attrgetter(path)(installed[module])

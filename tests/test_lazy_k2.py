"""k2 is imported on first use; without it the message names the remedy."""

from __future__ import annotations

import subprocess
import sys

import pytest

from augmem.errors import UserError
from augmem.lazy_k2 import LazyModule


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

"""k2, imported when it is first used: options, training and scoring run without it.

Use `from augmem.lazy_k2 import k2` instead of `import k2`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from augmem.errors import UserError

_REMEDY = (
    "Graphs, alignment, decoding and recognition need k2: in a clone run local/setup.sh, or install the wheel for your "
    "torch and Python from the wheel pages of k2; `augmem doctor` lists what is missing"
)


class LazyModule(ModuleType):
    """A module that is imported when one of its attributes is read."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # read by inspection, such as that of doctest
            raise AttributeError(name)
        return getattr(_import(self.__name__), name)


def _import(name: str) -> ModuleType:
    """Import k2 or its extension module.

    Raises:
        UserError: it is not installed, or it does not fit the installed torch or Python.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise UserError(f"k2 is not installed for {sys.executable}. {_REMEDY}") from error
    except (ImportError, OSError) as error:
        raise UserError(f"k2 cannot be imported by {sys.executable}: {error}. {_REMEDY}") from error


if TYPE_CHECKING:
    import _k2
    import k2
else:
    k2, _k2 = LazyModule("k2"), LazyModule("_k2")

__all__ = ["_k2", "k2"]

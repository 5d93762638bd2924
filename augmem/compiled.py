"""Functions compiled by Numba when they are first called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def compile_function(function: Function) -> Function:
    """Compile a function of arrays and numbers; cache the machine code for other processes if a folder allows it."""
    try:
        return cast(Function, numba.njit(cache=True)(function))
    except RuntimeError:  # neither __pycache__ nor the user's cache folder is writable
        return cast(Function, numba.njit(function))

"""Compilation of all kernels of decoding, before they are used."""

from __future__ import annotations

from functools import cache

from augmem.decoding.nbest_kernels import compile_nbest_kernels
from augmem.decoding.search_kernels import compile_search_kernels


@cache
def compile_kernels() -> None:
    """Compile all kernels, or load them from the cache; see `augmem.compiled`."""
    compile_search_kernels()
    compile_nbest_kernels()

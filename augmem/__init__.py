"""Augmem: a streaming hybrid speech recogniser built on the augmented-memory transformer (arXiv 2005.08042)."""

from augmem.machine import prepare_libraries

prepare_libraries()  # before torch or numpy are imported

__version__ = "0.1.0"

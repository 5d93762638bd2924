"""Augmem: a streaming hybrid speech recogniser built on the augmented-memory transformer (arXiv 2005.08042)."""

__version__ = "0.1.0"

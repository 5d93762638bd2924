"""Decoding: from the model's scores and a decoding graph to words, how sure they are, and when they were said.

`decode` makes n-best lists of whole parts, `tune` chooses the scales on dev, `hypotheses` applies them. A lattice is a
plain array type (`Lattice`); k2 appears only where lattices are made.
"""

from augmem.decoding.config import DecodingConfig

__all__ = ["DecodingConfig"]

"""Decoding graphs in OpenFst's format, built from a lexicon and an n-gram model; imports neither torch nor k2."""

from augmem.openfst.file import NOT_FINAL, OpenFstGraph, write_openfst
from augmem.openfst.grammar import Grammar, read_arpa_grammar
from augmem.openfst.hlg import IndexedLexicon, build_openfst_hlg

__all__ = [
    "NOT_FINAL",
    "Grammar",
    "IndexedLexicon",
    "OpenFstGraph",
    "build_openfst_hlg",
    "read_arpa_grammar",
    "write_openfst",
]

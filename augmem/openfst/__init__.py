"""Decoding graphs in OpenFst's format, built from a lexicon and an n-gram model; imports neither torch nor k2."""

from augmem.openfst.file import NOT_FINAL, Graph, write_openfst
from augmem.openfst.grammar import Grammar, read_grammar
from augmem.openfst.hlg import Lexicon, build_hlg

__all__ = ["NOT_FINAL", "Grammar", "Graph", "Lexicon", "build_hlg", "read_grammar", "write_openfst"]

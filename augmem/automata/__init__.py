"""Automata of k2: topologies H, lexicon L, phone LM P, grammar G, and their compositions.

For training: numerators (one small graph per transcript) and the denominator, stored as plain arrays (`augmem.graph`).
For decoding: HLG. All of them use the same topology, selected by name.
"""

from augmem.automata.denominator import denominator_fsa
from augmem.automata.frames import frame_graph
from augmem.automata.fsa import load_fsa, save_fsa
from augmem.automata.hlg import SizeLog, build_hlg, read_grammar, to_decoding_graph
from augmem.automata.k2_intersection import k2_score
from augmem.automata.lexicon import build_lexicon, lexicon_fst
from augmem.automata.numerator import NumeratorCompiler
from augmem.automata.openfst import to_openfst
from augmem.automata.origin import check_origin, set_origin
from augmem.automata.phone_lm import PhoneLm, estimate_phone_lm
from augmem.automata.prepare import prepare_decoding_graph, prepare_training_graphs
from augmem.automata.topology import build_topology

__all__ = [
    "NumeratorCompiler",
    "PhoneLm",
    "SizeLog",
    "build_hlg",
    "build_lexicon",
    "build_topology",
    "check_origin",
    "denominator_fsa",
    "estimate_phone_lm",
    "frame_graph",
    "k2_score",
    "lexicon_fst",
    "load_fsa",
    "prepare_decoding_graph",
    "prepare_training_graphs",
    "read_grammar",
    "save_fsa",
    "set_origin",
    "to_decoding_graph",
    "to_openfst",
]

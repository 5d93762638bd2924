"""Graphs: topologies H, lexicon L, phone LM P, grammar G, and what is composed of them.

For training: numerators (one small graph a transcript) and the denominator, with exact total scores and
gradients. For decoding: HLG. One topology, chosen by name, serves all of them.
"""

from augmem.graph.config import TOPOLOGIES, GraphConfig
from augmem.graph.context import BIPHONES_FILE, Biphone, context_hash, read_biphones
from augmem.graph.denominator import Denominator
from augmem.graph.frames import FrameGraph, FrameGraphs, frame_graph, stack_graphs
from augmem.graph.fsa import load_fsa, save_fsa
from augmem.graph.hlg import Origin, SizeLog, build_hlg, check_origin, read_grammar
from augmem.graph.k2_score import k2_score
from augmem.graph.lexicon_fst import build_lexicon, lexicon_fst
from augmem.graph.numerator import NumeratorCompiler
from augmem.graph.phone_lm import PhoneLm, estimate_phone_lm
from augmem.graph.prepare import prepare_graphs
from augmem.graph.topology import Biphones, build_topology, num_outputs, output_units
from augmem.graph.total_score import DenseGraph, graphs_score

__all__ = [
    "BIPHONES_FILE",
    "TOPOLOGIES",
    "Biphone",
    "Biphones",
    "Denominator",
    "DenseGraph",
    "FrameGraph",
    "FrameGraphs",
    "GraphConfig",
    "NumeratorCompiler",
    "Origin",
    "PhoneLm",
    "SizeLog",
    "build_hlg",
    "build_lexicon",
    "build_topology",
    "check_origin",
    "context_hash",
    "estimate_phone_lm",
    "frame_graph",
    "graphs_score",
    "k2_score",
    "lexicon_fst",
    "load_fsa",
    "num_outputs",
    "output_units",
    "prepare_graphs",
    "read_biphones",
    "read_grammar",
    "save_fsa",
    "stack_graphs",
]

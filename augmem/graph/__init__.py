"""Graphs: topologies H, lexicon L, phone LM P, grammar G, and their compositions.

For training: numerators (one small graph per transcript) and the denominator, with exact total scores and gradients.
For decoding: HLG. All of them use the same topology, selected by name.

Names are imported on first use, so that configuration and origins need no k2.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from augmem.graph.config import HLG_FILE, PHONE_LM_FILE, TOPOLOGIES, GraphConfig
    from augmem.graph.context import BIPHONES_FILE, Biphone, context_hash, read_biphones
    from augmem.graph.denominator import Denominator
    from augmem.graph.frames import FrameGraph, FrameGraphs, frame_graph, stack_graphs
    from augmem.graph.fsa import load_fsa, save_fsa
    from augmem.graph.hlg import SizeLog, build_hlg, read_grammar, to_decoding_graph
    from augmem.graph.k2_intersection import k2_score
    from augmem.graph.lexicon import build_lexicon, lexicon_fst
    from augmem.graph.numerator import NumeratorCompiler
    from augmem.graph.origin import Origin, check_origin, set_origin
    from augmem.graph.phone_lm import PhoneLm, estimate_phone_lm
    from augmem.graph.prepare import prepare_decoding_graph, prepare_training_graphs, pronunciations_hash
    from augmem.graph.topology import Biphones, build_topology, num_outputs, output_units
    from augmem.graph.total_score import DenseGraph, graphs_score

_MODULES = {
    "config": ("HLG_FILE", "PHONE_LM_FILE", "TOPOLOGIES", "GraphConfig"),
    "context": ("BIPHONES_FILE", "Biphone", "context_hash", "read_biphones"),
    "denominator": ("Denominator",),
    "frames": ("FrameGraph", "FrameGraphs", "frame_graph", "stack_graphs"),
    "fsa": ("load_fsa", "save_fsa"),
    "hlg": ("SizeLog", "build_hlg", "read_grammar", "to_decoding_graph"),
    "k2_intersection": ("k2_score",),
    "lexicon": ("build_lexicon", "lexicon_fst"),
    "numerator": ("NumeratorCompiler",),
    "origin": ("Origin", "check_origin", "set_origin"),
    "phone_lm": ("PhoneLm", "estimate_phone_lm"),
    "prepare": ("prepare_decoding_graph", "prepare_training_graphs", "pronunciations_hash"),
    "topology": ("Biphones", "build_topology", "num_outputs", "output_units"),
    "total_score": ("DenseGraph", "graphs_score"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "BIPHONES_FILE",
    "HLG_FILE",
    "PHONE_LM_FILE",
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
    "prepare_decoding_graph",
    "prepare_training_graphs",
    "pronunciations_hash",
    "read_biphones",
    "read_grammar",
    "save_fsa",
    "set_origin",
    "stack_graphs",
    "to_decoding_graph",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)

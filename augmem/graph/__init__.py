"""Graphs for training: options, contexts, numerators and denominator, with exact total scores and gradients.

A graph is made of plain tensors; nothing here needs k2. `augmem.automata` compiles the graphs.
"""

from augmem.graph.config import DENOMINATOR_FILE, HLG_FILE, PHONE_LM_FILE, TOPOLOGIES, GraphConfig
from augmem.graph.context import (
    BIPHONES_FILE,
    Biphone,
    Biphones,
    Classes,
    context_hash,
    frequent_biphones,
    read_biphones,
    write_biphones,
)
from augmem.graph.denominator import Denominator, read_denominator, write_denominator
from augmem.graph.dense import DenseGraph
from augmem.graph.frames import INFINITE, FrameGraph, FrameGraphs, scatter_logsumexp, stack_graphs
from augmem.graph.numerators import (
    Kind,
    Numerators,
    numerator_definition,
    pronunciations_hash,
    transcript_key,
    write_numerators,
)
from augmem.graph.origin import Origin
from augmem.graph.outputs import check_topology, num_outputs, output_units
from augmem.graph.sparse import SparseGraph
from augmem.graph.total_score import graphs_score

__all__ = [
    "BIPHONES_FILE",
    "DENOMINATOR_FILE",
    "HLG_FILE",
    "INFINITE",
    "PHONE_LM_FILE",
    "TOPOLOGIES",
    "Biphone",
    "Biphones",
    "Classes",
    "Denominator",
    "DenseGraph",
    "FrameGraph",
    "FrameGraphs",
    "GraphConfig",
    "Kind",
    "Numerators",
    "Origin",
    "SparseGraph",
    "check_topology",
    "context_hash",
    "frequent_biphones",
    "graphs_score",
    "num_outputs",
    "numerator_definition",
    "output_units",
    "pronunciations_hash",
    "read_biphones",
    "read_denominator",
    "scatter_logsumexp",
    "stack_graphs",
    "transcript_key",
    "write_biphones",
    "write_denominator",
    "write_numerators",
]

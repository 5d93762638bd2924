"""Decoding graphs as arrays, and files of OpenFst (type const) that hold them.

Such a file is what `fst::ConstFst<StdArc>` writes: a header, the states, and all arcs in the order of their states.
Written from arrays, a graph of ten million arcs needs a second.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augmem.files import atomic_path

Int32Array = NDArray[np.int32]
Float32Array = NDArray[np.float32]

_MAGIC, _VERSION, _NOT_ALIGNED, _EXPANDED = 2125659606, 2, 0, 1
_ARC = np.dtype([("input", "<i4"), ("output", "<i4"), ("cost", "<f4"), ("target", "<i4")])
_STATE = np.dtype([("cost", "<f4"), ("begin", "<u4"), ("arcs", "<u4"), ("in_eps", "<u4"), ("out_eps", "<u4")])
NOT_FINAL = np.float32(np.inf)


@dataclass(frozen=True)
class OpenFstGraph:
    """A weighted transducer with S states and A arcs.

    Args:
        source, target: (A,) states of each arc.
        inputs, outputs: (A,) labels; 0 is epsilon.
        costs: (A,) negative log-probabilities.
        final_costs: (S,) cost of ending in each state; `NOT_FINAL` if it is not final.
        start: the first state.
    """

    source: Int32Array
    target: Int32Array
    inputs: Int32Array
    outputs: Int32Array
    costs: Float32Array
    final_costs: Float32Array
    start: int = 0

    @property
    def num_states(self) -> int:
        """Number of states S."""
        return len(self.final_costs)

    @property
    def num_arcs(self) -> int:
        """Number of arcs A."""
        return len(self.source)


def write_openfst(path: Path, graph: OpenFstGraph) -> None:
    """Write a graph atomically in OpenFst's binary format."""
    order = np.argsort(graph.source, kind="stable")
    arcs = np.empty(graph.num_arcs, _ARC)
    columns = (graph.inputs, graph.outputs, graph.costs, graph.target)
    for name, values in zip(("input", "output", "cost", "target"), columns, strict=True):
        arcs[name] = values[order]
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(_header(graph))
        stream.write(_states(graph).tobytes())
        arcs.tofile(stream)


def _header(graph: OpenFstGraph) -> bytes:
    """Return OpenFst's header: types, version, flags, properties, start state, and the numbers of states and arcs."""
    head = struct.pack("<i", _MAGIC)
    for text in (b"const", b"standard"):
        head += struct.pack("<i", len(text)) + text
    sizes = graph.start, graph.num_states, graph.num_arcs
    return head + struct.pack("<iiQqqq", _VERSION, _NOT_ALIGNED, _EXPANDED, *sizes)


def _states(graph: OpenFstGraph) -> NDArray[Any]:
    """Return the table of states: final cost, first arc, and numbers of arcs and epsilons."""

    def count(source: Int32Array) -> NDArray[np.int64]:
        return np.bincount(source, minlength=graph.num_states)

    states = np.empty(graph.num_states, _STATE)
    arcs = count(graph.source)
    states["cost"], states["arcs"] = graph.final_costs, arcs
    states["begin"] = np.cumsum(arcs) - arcs
    states["in_eps"] = count(graph.source[graph.inputs == 0])
    states["out_eps"] = count(graph.source[graph.outputs == 0])
    return states

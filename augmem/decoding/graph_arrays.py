"""HLG as numpy arrays: views of the tensors of k2's graph, which are mapped from its file.

Letters: A arcs, Q states, K words on one arc at most.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from augmem.decoding.lattice import FINAL, Ints, ranges
from augmem.decoding.search_kernels import SCORE, UNIT, Float32s, GraphViews, Int32s, WordLabels
from augmem.lazy_k2 import k2

Numbers = NDArray[np.integer[Any]]  # of states or arcs


class ArcColumns:
    """Some arcs of a graph as columns.

    Args:
        packed: (A, 4) arcs of k2.
    """

    def __init__(self, packed: Int32s) -> None:
        self._columns = packed

    @property
    def unit(self) -> Int32s:
        """(A,) units; FINAL on final arcs."""
        return self._columns[:, UNIT]

    @property
    def score(self) -> Float32s:
        """(A,) graph scores."""
        return self._columns[:, SCORE].view(np.float32)


class GraphArrays:
    """Arcs of HLG by number.

    Args:
        graph: an arc-sorted FsaVec of one graph, see `prepare_graph`.

    Attributes:
        first: (Q + 1,) arcs first[q] to first[q + 1] - 1 leave state q.
        views: the arrays that the compiled search kernels read.
        word_labels: words of all arcs, in the layout of these kernels.
    """

    def __init__(self, graph: k2.Fsa) -> None:
        self.first: Int32s = graph.arcs.shape().row_splits(2).numpy()
        self._packed: Int32s = graph.arcs.values().numpy()
        scores = self._packed.view(np.float32)
        highest = float(scores[:, SCORE].max(initial=0.0))
        self.views = GraphViews(self.first, self._packed, scores, highest, np.full(len(self.first), -1, dtype=np.int32))
        self._word_starts = graph.word_starts.numpy()
        labels = graph.aux_labels
        is_ragged = not hasattr(labels, "clamp")
        self.word_labels = (
            WordLabels(labels.values.numpy(), labels.shape.row_splits(1).numpy())
            if is_ragged
            else WordLabels(labels.numpy(), np.zeros(0, np.int32))
        )

    def columns(self, arcs: Numbers) -> ArcColumns:
        """Return the columns of some arcs (A,)."""
        return ArcColumns(self._packed.take(arcs, axis=0))

    def arcs_leaving(self, states: Int32s) -> tuple[Int32s, Ints]:
        """Return the number of arcs (N,) that leave each of some states (N,), and these arcs, state by state."""
        first = self.first.take(states)
        count = self.first.take(states + 1) - first
        arcs = np.repeat(first.astype(np.int64) - (np.cumsum(count) - count), count)
        arcs += np.arange(len(arcs))
        return count, arcs

    def final_arcs(self, states: Int32s) -> tuple[Int32s, Int32s]:
        """Return pairs (position in `states`, arc) of all final arcs that leave some states."""
        count, arcs = self.arcs_leaving(states)
        final = np.flatnonzero(self.columns(arcs).unit == FINAL)
        source = np.repeat(np.arange(len(states), dtype=np.int32), count)
        return source[final], arcs[final].astype(np.int32)

    def words(self, arcs: Numbers) -> Ints:
        """Return the word ids (A, K) of some arcs, padded with 0; K is at least 1."""
        words, splits = self.word_labels
        if not len(splits):
            return np.maximum(words[arcs], 0).astype(np.int64)[:, None]
        first = splits[arcs].astype(np.int64)
        count = splits[arcs + 1] - first
        labels, row = words[ranges(first, count)], np.repeat(np.arange(len(arcs)), count)
        labels, row = labels[labels > 0], row[labels > 0]
        place = np.arange(len(row)) - np.searchsorted(row, row)
        found = np.zeros((len(arcs), int(place.max(initial=0)) + 1), dtype=np.int64)
        found[row, place] = labels
        return found

    def word_starts(self, arcs: Numbers) -> Ints:
        """Return the number of words (A,) that start with each arc."""
        return self._word_starts[arcs].astype(np.int64)

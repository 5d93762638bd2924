"""The best path of a search that goes on, and which of its words will not change.

Letters: N states, A arcs.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from augmem.decoding.beam_search import SearchedFrame, SearchState
from augmem.decoding.graph_arrays import GraphArrays
from augmem.decoding.lattice import Ints, Lattice, best_path, path_word_ids
from augmem.decoding.search_kernels import NEVER, follow_words
from augmem.decoding.times import WordFrames, spoken_frames, spoken_units, word_frames

MAX_UNSHARED = 250  # frames; alternatives that last longer are not compared any more


class BestPath(NamedTuple):
    """The best path of a stream so far.

    Args:
        words: its words with their frames.
        spoken: (begin, end) of all words that begin on it; the last ones may not be determined yet.
    """

    words: tuple[WordFrames, ...]
    spoken: list[tuple[int, int]]


def current_best_path(graph: GraphArrays, state: SearchState, silent: Collection[int]) -> BestPath:
    """Return the words and times of the best path to any active state.

    Args:
        graph: the decoding graph.
        state: state of a search that is not lost.
        silent: units of blank and silence.
    """
    trace_back(state)
    arcs = np.array([arc for arc, _ in state.best], dtype=np.int32)
    spoken = spoken_units(graph.columns(arcs).unit, graph.word_starts(arcs), silent)
    words = graph.words(arcs)
    return BestPath(word_frames([int(word) for word in words[words > 0]], spoken), spoken)


def lattice_best_path(lattice: Lattice, silent: Collection[int]) -> BestPath:
    """Return the words and times of the best path of a lattice.

    Args:
        lattice: a lattice with a path.
        silent: units of blank and silence.
    """
    path = best_path(lattice)
    spoken = spoken_frames(lattice, path, silent)
    return BestPath(word_frames(path_word_ids(lattice, path), spoken), spoken)


def trace_back(state: SearchState) -> None:
    """Set `state.best` to the best path to any active state; only the part that has changed is traced."""
    best, found = state.best, []
    position = int(state.forward.argmax())
    for number in reversed(range(state.num_frames)):
        frame = state.frames[number]
        position, arc = frame.best_into(position)
        found.append((arc, int(frame.states[position])))
        if number < len(best) and best[number][1] == found[-1][1]:
            break
    best[state.num_frames - len(found) :] = reversed(found)


def count_stable_words(graph: GraphArrays, state: SearchState) -> int:
    """Return the number of words that begin every path of the search, and therefore the final result.

    Call it after `current_best_path`, and only on a state whose arcs have been removed by `BeamSearch.advance`.

    Args:
        graph: the decoding graph.
        state: state of the search; its `shared` and `stable_words` are updated.
    """
    begin, words = state.shared
    if state.num_frames - begin <= MAX_UNSHARED:
        best = graph.words(np.array([arc for arc, _ in state.best], dtype=np.int32))
        agreement = Agreement(best[best > 0], words)
        for number, frame in enumerate(state.frames[begin:], begin):
            if agreement.is_single:
                state.shared = number, int(agreement.equal[0])
            agreement.advance(graph, frame)
        state.stable_words = max(state.stable_words, agreement.shared_words())
    return state.stable_words


class Agreement:
    """Number of words that the paths to each state share with the best path.

    Args:
        best: word ids of the best path.
        words: number of words before the first frame; all paths have the same.

    Attributes:
        equal: (N,) words of the paths that begin as the best path does; -1 without such a path.
        shared: (N,) number of words before the first difference, the lowest of all other paths.
    """

    def __init__(self, best: Ints, words: int) -> None:
        self.best = np.append(best, -1)
        self.equal, self.shared = np.array([words]), np.array([NEVER])

    @property
    def is_single(self) -> bool:
        """Whether all paths end in one state and have the same words."""
        return len(self.equal) == 1 and self.shared[0] == NEVER

    def advance(self, graph: GraphArrays, frame: SearchedFrame) -> None:
        """Follow the arcs of a frame."""
        self.equal, self.shared = follow_words(graph.word_labels, frame.arcs, self.best, self.equal, self.shared)

    def shared_words(self) -> int:
        """Return the number of words with which all paths begin."""
        return int(np.minimum(self.shared, np.where(self.equal >= 0, self.equal, NEVER)).min())

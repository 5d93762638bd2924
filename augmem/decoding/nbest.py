"""The best distinct word sequences of a lattice, each with the sum over its alignments.

Many paths of a lattice have the same words: they differ in alignment, pronunciations and silences. Partial word
sequences (tokens) are extended frame by frame; tokens in the same state with the same words are merged. The list is
exact within its beam and has no duplicates.

A back-off grammar in a decoding graph is ambiguous (explicit n-gram, or back-off): the sum over alignments includes
both ways, which adds at most a few tenths of a nat per word.

Letters: N tokens.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from augmem.decoding.config import SearchConfig
from augmem.decoding.lattice import Lattice, backward_best
from augmem.decoding.nbest_kernels import LatticeArcs, Tokens, Trees, search_tokens
from augmem.decoding.times import WordFrames, non_silent, word_frames


@dataclass(frozen=True)
class WordSequence:
    """One word sequence of a lattice. Scores are natural logarithms.

    Args:
        words: word ids.
        total: log-sum over its alignments of scaled acoustic plus graph scores.
        best: the same score of its best alignment.
        graph: graph score of the best alignment.
        times: frames of each word on the best alignment.
    """

    words: tuple[int, ...]
    total: float
    best: float
    graph: float
    times: tuple[WordFrames, ...] = ()


def best_word_sequences(lattice: Lattice, config: SearchConfig, silent: Collection[int] = (0,)) -> list[WordSequence]:
    """Return the best word sequences of a lattice, highest `total` first; none for an empty lattice.

    Args:
        config: `nbest`, `nbest_beam` and `nbest_tokens` limit the list.
        silent: units of blank and silence.

    Example:
        >>> import k2, torch
        >>> from augmem.decoding import DecodingGraph, find_lattices
        >>> graph = DecodingGraph(k2.ctc_topo(max_token=2))  # all unit sequences; units are its words
        >>> log_probs = torch.tensor([[[0.1, 0.8, 0.1], [0.8, 0.1, 0.1]]]).log()
        >>> (found,) = find_lattices(log_probs, torch.tensor([2]), graph, SearchConfig())
        >>> [sequence.words for sequence in best_word_sequences(found.lattice, SearchConfig())][:2]
        [(1,), (2,)]
    """
    if lattice.is_empty:
        return []
    arcs = lattice_arcs(lattice, silent)
    tokens, trees = search_tokens(
        arcs, lattice.num_frames, float(arcs.ahead[0]) - config.nbest_beam, config.nbest_tokens
    )
    best = np.lexsort((tokens.history, -tokens.total))[: config.nbest]
    found = [word_sequence(tokens, trees, int(row)) for row in best]
    return sorted(found, key=lambda sequence: (-sequence.total, sequence.words))


def lattice_arcs(lattice: Lattice, silent: Collection[int]) -> LatticeArcs:
    """Prepare a lattice for the compiled search."""
    ahead = backward_best(lattice)
    return LatticeArcs(
        lattice.arc_splits, lattice.target, lattice.words, lattice.word_starts, non_silent(lattice, silent),
        lattice.scores, lattice.graph, lattice.scores + ahead[lattice.target], ahead,
    )  # fmt: skip


def word_sequence(tokens: Tokens, trees: Trees, row: int) -> WordSequence:
    """Convert a token of the end state."""
    words = []
    history = int(tokens.history[row])
    while history:
        history, word = trees.histories[history, :2].tolist()
        words.append(word)
    spans = []
    timing, end = int(tokens.timing[row]), int(tokens.end[row])
    while timing:
        timing, begin, before = trees.timings[timing].tolist()
        spans.append((begin, end))
        end = before
    total, best, graph = float(tokens.total[row]), float(tokens.best[row]), float(tokens.graph[row])
    return WordSequence(tuple(words[::-1]), total, best, graph, word_frames(words[::-1], spans[::-1]))

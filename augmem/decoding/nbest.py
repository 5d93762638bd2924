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
from augmem.decoding.lattice import Floats, Ints, Lattice, backward_best, group_starts, ranges
from augmem.decoding.times import WordFrames, non_silent, word_frames

_SHIFT = 32  # bits of the lower half of a combined key


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


@dataclass
class Tokens:
    """Partial word sequences in one frame; scores as in `WordSequence`.

    Args:
        state: (N,) lattice state.
        history: (N,) number of the word sequence in `Histories`.
        total, best, graph: (N,) scores.
        timing: (N,) number of the word begins in `Timings`, of the best alignment.
        end: (N,) frame after the last non-silent frame of the last word, of the best alignment.
    """

    state: Ints
    history: Ints
    total: Floats
    best: Floats
    graph: Floats
    timing: Ints
    end: Ints

    def __len__(self) -> int:
        return len(self.state)

    def take(self, rows: Ints) -> Tokens:
        """Select rows."""
        return Tokens(*(column[rows] for column in vars(self).values()))


class Histories:
    """Word sequences as a tree. Number 0 is the empty sequence; every other node is a parent and a word."""

    def __init__(self) -> None:
        self.nodes = [0]  # parent and word, combined
        self.children: dict[int, int] = {}

    def extend(self, parents: Ints, words: Ints) -> Ints:
        """Return the number of each parent extended by its word; for word 0 the parent itself."""
        rows = np.flatnonzero(words)
        if not len(rows):
            return parents
        keys, inverse = np.unique((parents[rows] << _SHIFT) | words[rows], return_inverse=True)
        children, nodes = self.children, self.nodes
        for key in keys.tolist():
            if key not in children:
                children[key] = len(nodes)
                nodes.append(key)
        extended = parents.copy()
        extended[rows] = np.array([children[key] for key in keys.tolist()], dtype=np.int64)[inverse]
        return extended

    def words(self, number: int) -> tuple[int, ...]:
        """Return the words of a sequence."""
        words = []
        while number:
            number, word = divmod(self.nodes[number], 1 << _SHIFT)
            words.append(word)
        return tuple(reversed(words))


class Timings:
    """Begins and ends of words as a tree.

    Number 0 is before the first word. Every other node is a parent, the frame at which a word begins, and the frame at
    which the word before it ended.
    """

    def __init__(self) -> None:
        self.size = 1
        self.nodes: list[Ints] = [np.zeros((1, 3), dtype=np.int64)]

    def begin(self, parents: Ints, frame: int, ends: Ints) -> Ints:
        """Return the numbers of the parents, each followed by a word that begins at `frame`."""
        self.nodes.append(np.stack([parents, np.full_like(parents, frame), ends], axis=1))
        numbers = np.arange(self.size, self.size + len(parents))
        self.size += len(parents)
        return numbers

    def spans(self, numbers: Ints, ends: Ints) -> list[list[tuple[int, int]]]:
        """Return (begin, end) of every word of some sequences, whose last words end at `ends`."""
        nodes = np.concatenate(self.nodes)
        columns: list[tuple[list[int], list[int], list[int]]] = []  # number, begin, end; last word first
        while numbers.any():
            parents, begins, before = nodes[numbers].T
            columns.append((numbers.tolist(), begins.tolist(), ends.tolist()))
            numbers, ends = parents, before
        return [
            [(begins[row], ends[row]) for exists, begins, ends in reversed(columns) if exists[row]]
            for row in range(len(numbers))
        ]


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
    search = NbestSearch(lattice, config.nbest_beam, silent)
    tokens = initial_tokens()
    for frame in lattice.frames():
        tokens = search.advance(tokens, frame)
        if frame < lattice.num_frames:
            tokens = prune_tokens(tokens, search.ahead, config.nbest_tokens)
    best = np.lexsort((tokens.history, -tokens.total))[: config.nbest]
    return sorted(search.sequences(tokens.take(best)), key=lambda found: (-found.total, found.words))


def initial_tokens() -> Tokens:
    """Return the empty sequence in the start state."""
    none, zero = np.zeros(1, dtype=np.int64), np.zeros(1)
    return Tokens(none, none, zero, zero, zero, none, none)


class NbestSearch:
    """State of the n-best search in one lattice.

    Args:
        lattice: a lattice that is not empty.
        beam: alignments that score less than the best path by more than this are ignored.
        silent: units of blank and silence.
    """

    def __init__(self, lattice: Lattice, beam: float, silent: Collection[int]) -> None:
        self.lattice = lattice
        self.ahead = backward_best(lattice)
        # Best score from the begin of an arc to the end, and the lowest score that is within the beam.
        self.completion = lattice.scores + self.ahead[lattice.target]
        self.threshold = float(self.ahead[0]) - beam
        self.non_silent = non_silent(lattice, silent)
        self.emitting = lattice.words[:, 0] > 0
        self.histories, self.timings = Histories(), Timings()

    def advance(self, tokens: Tokens, frame: int) -> Tokens:
        """Extend every token by every arc that leaves its state, and merge tokens that meet."""
        lattice = self.lattice
        row, arc = leaving_arcs(lattice, tokens.state)
        kept = tokens.best[row] + self.completion[arc] >= self.threshold
        row, arc = row[kept], arc[kept]
        history, timing, end = tokens.history[row], tokens.timing[row], tokens.end[row]
        if self.emitting[arc].any():
            for words in lattice.words[arc].T:
                history = self.histories.extend(history, words)
        word_starts = lattice.word_starts[arc]
        for nth in range(int(word_starts.max(initial=0))):
            rows = np.flatnonzero(word_starts > nth)
            timing[rows] = self.timings.begin(timing[rows], frame, end[rows])
            end[rows] = frame + 1
        end[self.non_silent[arc] & (timing > 0)] = frame + 1
        scores = lattice.scores[arc]
        return merge_tokens(
            Tokens(
                state=lattice.target[arc],
                history=history,
                total=tokens.total[row] + scores,
                best=tokens.best[row] + scores,
                graph=tokens.graph[row] + lattice.graph[arc],
                timing=timing,
                end=end,
            )
        )

    def sequences(self, tokens: Tokens) -> list[WordSequence]:
        """Convert the tokens of the end state to word sequences."""
        found = []
        for row, spans in enumerate(self.timings.spans(tokens.timing, tokens.end)):
            words = self.histories.words(int(tokens.history[row]))
            total, best, graph = float(tokens.total[row]), float(tokens.best[row]), float(tokens.graph[row])
            found.append(WordSequence(words, total, best, graph, word_frames(words, spans)))
        return found


def leaving_arcs(lattice: Lattice, states: Ints) -> tuple[Ints, Ints]:
    """Return pairs (row, arc) of all arcs that leave the state of each row."""
    first = lattice.arc_splits[states]
    count = lattice.arc_splits[states + 1] - first
    return np.repeat(np.arange(len(states)), count), ranges(first, count)


def merge_tokens(tokens: Tokens) -> Tokens:
    """Merge tokens of equal state and history: sum `total`; other columns are those of the highest `best`."""
    if len(tokens) < 2:
        return tokens
    order = np.lexsort((-tokens.best, (tokens.state << _SHIFT) | tokens.history))
    state, history, total = tokens.state[order], tokens.history[order], tokens.total[order]
    first = group_starts((state[1:] != state[:-1]) | (history[1:] != history[:-1]))
    merged = tokens.take(order[first])
    merged.total = np.logaddexp.reduceat(total, first)
    return merged


def prune_tokens(tokens: Tokens, ahead: Floats, limit: int) -> Tokens:
    """Keep the `limit` tokens whose best completion scores highest."""
    if len(tokens) <= limit:
        return tokens
    completed = tokens.best + ahead[tokens.state]
    return tokens.take(np.argpartition(-completed, limit - 1)[:limit])

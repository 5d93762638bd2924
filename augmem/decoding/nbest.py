"""The best word sequences of a lattice, each once, summed over their alignments.

Many paths of a lattice spell the same words: they differ in frames, pronunciations and silences. Here
partial word sequences are followed through the lattice frame by frame; paths that meet in a state with the
same words so far are joined. So the list is exact within its beam: no sampling, and no sequence twice.

A back-off grammar in a decoding graph is ambiguous (the explicit n-gram, or back off and pay): the sum over
alignments includes both ways, which adds at most a few tenths of a nat for each word.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from augmem.decoding.config import SearchConfig
from augmem.decoding.lattice import Floats, Ints, Lattice, backward_best, ranges
from augmem.decoding.times import WordFrames, sounding, word_frames


@dataclass(frozen=True)
class WordSequence:
    """One word sequence of a lattice. Scores are natural logarithms.

    Args:
        words: word ids.
        total: log-sum over its alignments of scaled acoustic plus graph scores.
        best: the same of its best alignment alone.
        graph: graph score of that best alignment.
        times: when each word was said, on that best alignment.
    """

    words: tuple[int, ...]
    total: float
    best: float
    graph: float
    times: tuple[WordFrames, ...] = ()


@dataclass
class Tokens:
    """Partial word sequences of one frame: N rows of (state, history), scored as in `WordSequence`.

    `timing` is when the words were said (see `Timings`), `sound` the frame after the last one in which the last of them
    was heard; both of the best alignment.
    """

    state: Ints
    history: Ints
    total: Floats
    best: Floats
    graph: Floats
    timing: Ints
    sound: Ints

    def __len__(self) -> int:
        return len(self.state)

    def take(self, rows: Ints) -> Tokens:
        """Some of the rows."""
        return Tokens(*(column[rows] for column in vars(self).values()))


class Histories:
    """Word sequences as a tree: number 0 is the empty one, every other is a parent and a word."""

    def __init__(self) -> None:
        self.nodes: list[tuple[int, int]] = [(0, 0)]
        self.children: dict[tuple[int, int], int] = {}

    def extend(self, parents: Ints, words: Ints) -> Ints:
        """The number of each parent followed by each word; by word 0, the parent itself."""
        extended = parents.copy()
        rows = np.flatnonzero(words)
        if len(rows):
            pairs, inverse = np.unique(np.stack([parents[rows], words[rows]], axis=1), axis=0, return_inverse=True)
            numbers = np.array([self.child(int(parent), int(word)) for parent, word in pairs], dtype=np.int64)
            extended[rows] = numbers[inverse.ravel()]
        return extended

    def child(self, parent: int, word: int) -> int:
        """The number of one extended sequence, new or known."""
        number = self.children.setdefault((parent, word), len(self.nodes))
        if number == len(self.nodes):
            self.nodes.append((parent, word))
        return number

    def words(self, number: int) -> tuple[int, ...]:
        """The words of a sequence."""
        words = []
        while number:
            number, word = self.nodes[number]
            words.append(word)
        return tuple(reversed(words))


class Timings:
    """When words were said, as a tree: number 0 is before the first word, every other is a parent, the frame at which a
    word begins, and the frame at which the word before it ended.
    """

    def __init__(self) -> None:
        self.size = 1
        self.nodes: list[Ints] = [np.zeros((1, 3), dtype=np.int64)]

    def begin(self, parents: Ints, frame: int, ends: Ints) -> Ints:
        """Numbers of each parent followed by a word that begins at `frame`."""
        self.nodes.append(np.stack([parents, np.full_like(parents, frame), ends], axis=1))
        numbers = np.arange(self.size, self.size + len(parents))
        self.size += len(parents)
        return numbers

    def spans(self, numbers: Ints, ends: Ints) -> list[list[tuple[int, int]]]:
        """(begin, end) of every word of some sequences, whose last words end at `ends`."""
        nodes = np.concatenate(self.nodes).tolist()
        found = []
        for number, end in zip(numbers.tolist(), ends.tolist(), strict=True):
            spans = []
            while number:
                number, begin, before = nodes[number]
                spans.append((begin, end))
                end = before
            found.append(spans[::-1])
        return found


def best_word_sequences(lattice: Lattice, config: SearchConfig, silent: Collection[int] = (0,)) -> list[WordSequence]:
    """Return the best word sequences, highest `total` first; none for an empty lattice.

    Args:
        config: `nbest`, `nbest_beam` and `nbest_tokens` limit the list.
        silent: units of blank and silence.
    """
    if lattice.is_empty:
        return []
    listing = Listing(lattice, config.nbest_beam, silent)
    tokens = start()
    for frame in lattice.frames():
        tokens = listing.advance(tokens, frame)
        if frame < lattice.num_frames:
            tokens = strongest(tokens, listing.ahead, config.nbest_tokens)
    return sorted(listing.paths(tokens), key=lambda path: (-path.total, path.words))[: config.nbest]


def start() -> Tokens:
    """The empty sequence in the start state."""
    none, zero = np.zeros(1, dtype=np.int64), np.zeros(1)
    return Tokens(none, none, zero, zero, zero, none, none)


class Listing:
    """The walk through one lattice: what its tokens share."""

    def __init__(self, lattice: Lattice, beam: float, silent: Collection[int]) -> None:
        self.lattice, self.beam = lattice, beam
        self.ahead = backward_best(lattice)
        self.sounding = sounding(lattice, silent)
        self.histories, self.timings = Histories(), Timings()

    def advance(self, tokens: Tokens, frame: int) -> Tokens:
        """Follow every token over every arc that leaves its state, and join those that meet."""
        lattice = self.lattice
        row, arc = leaving_arcs(lattice, tokens.state)
        best = tokens.best[row] + lattice.scores[arc]
        kept = best + self.ahead[lattice.target[arc]] >= self.ahead[0] - self.beam
        row, arc, best = row[kept], arc[kept], best[kept]
        history, timing, sound = tokens.history[row], tokens.timing[row], tokens.sound[row]
        for words in lattice.words[arc].T:
            history = self.histories.extend(history, words)
        begun = lattice.begun[arc]
        for nth in range(int(begun.max(initial=0))):
            rows = np.flatnonzero(begun > nth)
            timing[rows] = self.timings.begin(timing[rows], frame, sound[rows])
            sound[rows] = frame + 1
        sound[self.sounding[arc] & (timing > 0)] = frame + 1
        moved = Tokens(
            state=lattice.target[arc],
            history=history,
            total=tokens.total[row] + lattice.scores[arc],
            best=best,
            graph=tokens.graph[row] + lattice.graph[arc],
            timing=timing,
            sound=sound,
        )
        return joined(moved)

    def paths(self, tokens: Tokens) -> list[WordSequence]:
        """The sequences of the tokens that have reached the end."""
        found = []
        for row, spans in enumerate(self.timings.spans(tokens.timing, tokens.sound)):
            words = self.histories.words(int(tokens.history[row]))
            total, best, graph = float(tokens.total[row]), float(tokens.best[row]), float(tokens.graph[row])
            found.append(WordSequence(words, total, best, graph, word_frames(words, spans)))
        return found


def leaving_arcs(lattice: Lattice, states: Ints) -> tuple[Ints, Ints]:
    """Pairs (row, arc) of every arc that leaves the state of every row."""
    first = lattice.arc_splits[states]
    count = lattice.arc_splits[states + 1] - first
    return np.repeat(np.arange(len(states)), count), ranges(first, count)


def joined(tokens: Tokens) -> Tokens:
    """One row for each (state, history): totals added up, `best` and its `graph` from the best of them."""
    if len(tokens) == 0:
        return tokens
    order = np.lexsort((-tokens.best, tokens.history, tokens.state))
    tokens = tokens.take(order)
    changes = (np.diff(tokens.state, prepend=-1) != 0) | (np.diff(tokens.history, prepend=-1) != 0)
    first = np.flatnonzero(changes)
    leaders = tokens.take(first)
    leaders.total = np.logaddexp.reduceat(tokens.total, first)
    return leaders


def strongest(tokens: Tokens, ahead: Floats, limit: int) -> Tokens:
    """The rows whose best completion scores highest."""
    if len(tokens) <= limit:
        return tokens
    completed = tokens.best + ahead[tokens.state]
    return tokens.take(np.argpartition(-completed, limit - 1)[:limit])

"""Inner loop of the n-best search, compiled.

Letters: A arcs, Q states, T frames of the lattice; K words on one arc at most; N tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from augmem.compiled import compile_function

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

PARENT, WORD, CHILD, SIBLING = 0, 1, 2, 3  # columns of the tree of word sequences; 0 stands for no child or sibling
_ROOM = 1024  # nodes of a new tree
_HASH = (2654435761, 40503)  # odd factors that spread states and histories over a table


class LatticeArcs(NamedTuple):
    """A lattice as the kernels read it.

    Args:
        splits: (Q + 1,) arcs splits[q] to splits[q + 1] - 1 leave state q.
        target: (A,) target states.
        words: (A, K) word ids, padded with 0.
        word_starts: (A,) number of words that start with the arc.
        non_silent: (A,) whether the unit is neither silent nor the end.
        scores, graph: (A,) all scores, and graph scores alone.
        completion: (A,) score of the best path from the begin of the arc to the end.
        ahead: (Q,) score of the best path from each state to the end.
    """

    splits: Ints
    target: Ints
    words: Ints
    word_starts: Ints
    non_silent: Bools
    scores: Floats
    graph: Floats
    completion: Floats
    ahead: Floats


class Tokens(NamedTuple):
    """Partial word sequences in one frame; scores as in `augmem.decoding.nbest.WordSequence`.

    Args:
        state: (N,) lattice state.
        history: (N,) node in the tree of word sequences.
        timing: (N,) node in the tree of word begins, of the best alignment.
        end: (N,) frame after the last non-silent frame of the last word, of the best alignment.
        total, best, graph: (N,) scores.
    """

    state: Ints
    history: Ints
    timing: Ints
    end: Ints
    total: Floats
    best: Floats
    graph: Floats


class Trees(NamedTuple):
    """Trees that tokens refer to. Node 0 is the root.

    Args:
        histories: (nodes, 4) parent, word, newest child and next older sibling of each word sequence.
        timings: (nodes, 3) parent, frame at which a word begins, and frame at which the word before it ended.
        sizes: (2,) number of nodes of each tree; the other rows are unused.
    """

    histories: Ints
    timings: Ints
    sizes: Ints


@compile_function
def search_tokens(lattice: LatticeArcs, num_frames: int, threshold: float, limit: int) -> tuple[Tokens, Trees]:
    """Extend the empty word sequence from the start of a lattice to its end.

    Args:
        lattice: the lattice.
        num_frames: T.
        threshold: paths that score less are ignored.
        limit: maximum number of tokens in a frame.

    Returns:
        the tokens in the end state, and the trees that they refer to.
    """
    zeros, score = np.zeros(1, np.int64), np.zeros(1)
    tokens = Tokens(zeros, zeros, zeros, zeros, score, score, score)
    trees = Trees(np.zeros((_ROOM, 4), np.int64), np.zeros((_ROOM, 3), np.int64), np.ones(2, np.int64))
    for frame in range(num_frames + 1):
        tokens, trees = _advance(lattice, tokens, trees, frame, threshold)
        if frame < num_frames:
            tokens = _prune(tokens, lattice.ahead, limit)
    return tokens, trees


@compile_function
def _advance(lattice: LatticeArcs, tokens: Tokens, trees: Trees, frame: int, threshold: float) -> tuple[Tokens, Trees]:
    """Extend every token by every arc that leaves its state, and merge tokens of equal state and history."""
    room = 0
    for state in tokens.state:
        room += lattice.splits[state + 1] - lattice.splits[state]
    new, table, count = _empty_tokens(room), _empty_table(room), 0
    for row in range(len(tokens.state)):
        state = tokens.state[row]
        for arc in range(lattice.splits[state], lattice.splits[state + 1]):
            if tokens.best[row] + lattice.completion[arc] < threshold:
                continue
            history = tokens.history[row]
            if lattice.words[arc, 0]:
                history, trees = _extend_history(trees, history, lattice.words[arc])
            target = lattice.target[arc]
            entry = _find_entry(table, new, target, history)
            place = table[entry]
            total, best = tokens.total[row] + lattice.scores[arc], tokens.best[row] + lattice.scores[arc]
            if place < 0:
                place, count = count, count + 1
                table[entry] = place
                new.state[place], new.history[place], new.total[place] = target, history, total
            else:
                new.total[place] = np.logaddexp(new.total[place], total)
                if best <= new.best[place]:
                    continue
            timing, end = tokens.timing[row], tokens.end[row]
            for _ in range(lattice.word_starts[arc]):
                timing, trees = _begin_word(trees, timing, frame, end)
                end = frame + 1
            if timing and lattice.non_silent[arc]:
                end = frame + 1
            new.timing[place], new.end[place] = timing, end
            new.best[place], new.graph[place] = best, tokens.graph[row] + lattice.graph[arc]
    return _take(new, np.arange(count)), trees


@compile_function
def _empty_table(room: int) -> Ints:
    """Return a hash table of the tokens of a frame, -1 where there is none; half of it at least remains empty."""
    size = 2
    while size < 2 * room:
        size *= 2
    return np.full(size, -1)


@compile_function
def _find_entry(table: Ints, tokens: Tokens, state: int, history: int) -> int:
    """Return the entry of a hash table that holds the token of a state and a history, or where it belongs."""
    last = len(table) - 1
    entry = (state * _HASH[0] ^ history * _HASH[1]) & last
    while table[entry] >= 0 and (tokens.state[table[entry]] != state or tokens.history[table[entry]] != history):
        entry = (entry + 1) & last
    return entry


@compile_function
def _extend_history(trees: Trees, node: int, words: Ints) -> tuple[int, Trees]:
    """Return the node of a word sequence followed by the words that are not 0."""
    for word in words:
        if word == 0:
            continue
        child = trees.histories[node, CHILD]
        while child and trees.histories[child, WORD] != word:
            child = trees.histories[child, SIBLING]
        if child == 0:
            child = trees.sizes[0]
            trees = Trees(_with_room(trees.histories, child), trees.timings, trees.sizes)
            row = trees.histories[child]
            row[PARENT], row[WORD], row[CHILD], row[SIBLING] = node, word, 0, trees.histories[node, CHILD]
            trees.histories[node, CHILD] = child
            trees.sizes[0] += 1
        node = child
    return node, trees


@compile_function
def _begin_word(trees: Trees, timing: int, frame: int, end: int) -> tuple[int, Trees]:
    """Return a new node for a word that begins at `frame`, after one that ends at `end`."""
    node = trees.sizes[1]
    trees = Trees(trees.histories, _with_room(trees.timings, node), trees.sizes)
    row = trees.timings[node]
    row[0], row[1], row[2] = timing, frame, end
    trees.sizes[1] += 1
    return node, trees


@compile_function
def _with_room(table: Ints, node: int) -> Ints:
    """Return a table of twice the length if it has no row `node`."""
    if node < len(table):
        return table
    longer = np.empty((2 * len(table), table.shape[1]), np.int64)
    for row in range(len(table)):  # an assignment of slices takes seconds to compile
        for column in range(table.shape[1]):
            longer[row, column] = table[row, column]
    return longer


@compile_function
def _empty_tokens(room: int) -> Tokens:
    ints, floats = np.empty((4, room), np.int64), np.empty((3, room))
    return Tokens(ints[0], ints[1], ints[2], ints[3], floats[0], floats[1], floats[2])


@compile_function
def _take(tokens: Tokens, rows: Ints) -> Tokens:
    """Select rows."""
    return Tokens(
        tokens.state[rows], tokens.history[rows], tokens.timing[rows], tokens.end[rows],
        tokens.total[rows], tokens.best[rows], tokens.graph[rows],
    )  # fmt: skip


@compile_function
def _prune(tokens: Tokens, ahead: Floats, limit: int) -> Tokens:
    """Keep the `limit` tokens whose best completion scores highest."""
    if len(tokens.state) <= limit:
        return tokens
    completed = tokens.best + ahead[tokens.state]
    lowest = _nth_highest(completed.copy(), limit - 1)
    return _take(tokens, np.flatnonzero(completed >= lowest)[:limit])


@compile_function
def _nth_highest(values: Floats, n: int) -> float:
    """Return the value with `n` higher or equal ones before it (Hoare's selection); `values` are reordered.

    `np.partition` takes eight seconds to compile.
    """
    low, high = 0, len(values) - 1
    while low < high:
        pivot, left, right = values[(low + high) // 2], low, high
        while left <= right:
            while values[left] > pivot:
                left += 1
            while values[right] < pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left, right = left + 1, right - 1
        if n <= right:
            high = right
        elif n >= left:
            low = left
        else:
            break
    return float(values[n])


def compile_nbest_kernels() -> None:
    """Compile all kernels, or load them from the cache, by a search in a lattice of one arc."""
    ints, floats = np.zeros(1, np.int64), np.zeros(1)
    arcs = LatticeArcs(
        np.array([0, 1, 1]), ints + 1, np.ones((1, 1), np.int64), ints, np.zeros(1, np.bool_), floats, floats, floats,
        np.zeros(2),
    )  # fmt: skip
    search_tokens(arcs, 0, -1.0, 1)

"""Alignment of word sequences with alternatives, and with the costs and ties of sclite.

A network is a list of arcs in topological order, each with a word and the arcs before it. The alignment of two networks
has the lowest cost; among equal costs a pair of words comes before a deletion, if neither costs more, and an insertion
before a deletion, which gives the error counts of sclite. The word @ is empty.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from augmem.errors import UserError
from augmem.scoring.alignment import GAP, WordPair

EMPTY = "@"
EMPTY_COST = 0.001  # so that a path with fewer empty words is preferred, as in sclite
CELLS = 400_000_000  # of an alignment of words without alternatives; about 2 GB
NETWORK_CELLS = 4_000_000  # of one with alternatives; about 10 s


class Costs(NamedTuple):
    """Costs of edits."""

    substitution: int
    deletion: int
    insertion: int


SCLITE, KALDI = Costs(4, 3, 3), Costs(1, 1, 1)


class NetworkArc(NamedTuple):
    """A word and the indices of the arcs before it; 0 is the start of the network."""

    word: str
    before: tuple[int, ...]


class Network(NamedTuple):
    """Words with alternatives: arcs in topological order, the first one empty, and the indices of the last ones."""

    arcs: list[NetworkArc]
    last: tuple[int, ...]

    @property
    def words(self) -> list[str] | None:
        """The words, or None if there are alternatives."""
        linear = all(arc.before == (i,) and arc.word != EMPTY for i, arc in enumerate(self.arcs[1:]))
        return [arc.word for arc in self.arcs[1:]] if linear else None


def split_alternatives(text: str) -> list[str]:
    """Split a text at white space and at the marks of alternatives.

    Example:
        >>> split_alternatives("GO {I'D/@} a/b")
        ['GO', '{', "I'D", '/', '@', '}', 'a/b']
    """
    pieces = re.split(r"([{}])", text)
    depths = np.cumsum([(piece == "{") - (piece == "}") for piece in pieces])
    marked = (piece.replace("/", " / ") if depth > 0 else piece for piece, depth in zip(pieces, depths, strict=True))
    return " ".join(marked).split()


def build_network(tokens: Sequence[str], where: str) -> Network:
    """Build the network of words and marks of alternatives.

    Args:
        tokens: result of `split_alternatives`.
        where: source of the text, for messages.

    Raises:
        UserError: braces do not match.
    """
    arcs = [NetworkArc(EMPTY, ())]
    tail: tuple[int, ...] = (0,)
    open_groups: list[tuple[tuple[int, ...], list[int]]] = []  # what is before a group, last arcs of its alternatives
    for token in tokens:
        if token == "{":
            open_groups.append((tail, []))
        elif token in ("/", "}") and open_groups:
            before, ends = open_groups[-1]
            if tail == before:  # an alternative without words
                arcs.append(NetworkArc(EMPTY, before))
                tail = (len(arcs) - 1,)
            ends.extend(tail)
            tail = before
            if token == "}":
                tail = tuple(ends)
                open_groups.pop()
        elif token == "}":
            raise UserError(f"{where}: }} without {{ in {' '.join(tokens)[:80]!r}")
        else:
            arcs.append(NetworkArc(token, tail))
            tail = (len(arcs) - 1,)
    if open_groups:
        raise UserError(f"{where}: {{ without }} in {' '.join(tokens)[:80]!r}")
    return Network(arcs, tail)


def align_networks(ref: Network, hyp: Network, costs: Costs = SCLITE) -> list[WordPair]:
    """Align two networks with the lowest cost.

    Args:
        ref: the reference.
        hyp: the hypothesis.
        costs: costs of the edits.

    Raises:
        UserError: they are too long.
    """
    ref_words, hyp_words = ref.words, hyp.words
    if ref_words is None or hyp_words is None:
        _check_size(len(ref.arcs) * len(hyp.arcs), NETWORK_CELLS)
        return _align_arcs(ref, hyp, costs)
    return align_words(ref_words, hyp_words, costs)


def _check_size(cells: int, limit: int) -> None:
    if cells > limit:
        raise UserError(
            f"an utterance is too long to align ({cells:,} pairs of words, limit {limit:,}); use an STM file with "
            "shorter segments as reference"
        )


def align_words(ref: Sequence[str], hyp: Sequence[str], costs: Costs = SCLITE) -> list[WordPair]:
    """Align two word sequences with the lowest cost; they can be those of an hour of speech."""
    _check_size((len(ref) + 1) * (len(hyp) + 1), CELLS)
    cost = _cost_matrix(ref, hyp, costs)
    i, j, steps = len(ref), len(hyp), []
    while i or j:
        pair, deletion, insertion = _choices(cost, ref, hyp, i, j, costs)
        if pair <= min(deletion, insertion):
            i, j = i - 1, j - 1
            steps.append(WordPair(ref[i], hyp[j]))
        elif deletion < insertion:
            i -= 1
            steps.append(WordPair(ref[i], GAP))
        else:
            j -= 1
            steps.append(WordPair(GAP, hyp[j]))
    return steps[::-1]


def _cost_matrix(ref: Sequence[str], hyp: Sequence[str], costs: Costs) -> NDArray[np.int32]:
    """Return the lowest cost of each pair of prefixes."""
    ids: dict[str, int] = {}
    a, b = (np.array([ids.setdefault(word, len(ids)) for word in words], np.int32) for words in (ref, hyp))
    insertions = costs.insertion * np.arange(len(b) + 1, dtype=np.int32)
    cost = np.empty((len(a) + 1, len(b) + 1), np.int32)
    cost[0] = insertions
    for i, word in enumerate(a):
        best = cost[i] + costs.deletion
        best[1:] = np.minimum(best[1:], cost[i, :-1] + costs.substitution * (b != word))
        cost[i + 1] = np.minimum.accumulate(best - insertions) + insertions
    return cost


def _choices(
    cost: NDArray[np.int32], ref: Sequence[str], hyp: Sequence[str], i: int, j: int, costs: Costs
) -> tuple[float, float, float]:
    """Return the costs of cell (i, j) by its last step: pair of words, deletion, insertion."""
    deletion = cost[i - 1, j] + costs.deletion if i else np.inf
    insertion = cost[i, j - 1] + costs.insertion if j else np.inf
    different = costs.substitution if i and j and ref[i - 1] != hyp[j - 1] else 0
    return (cost[i - 1, j - 1] + different if i and j else np.inf), deletion, insertion


def _align_arcs(ref: Network, hyp: Network, costs: Costs) -> list[WordPair]:
    """Align two networks; cells[a][b] is the lowest cost of a path that ends with arcs a and b, and the cell before."""
    start: tuple[float, int, int] = (0.0, -1, -1)
    cells = [[start] * len(hyp.arcs) for _ in ref.arcs]
    for a, one in enumerate(ref.arcs):
        for b, two in enumerate(hyp.arcs):
            if a or b:
                cells[a][b] = _best_cell(cells, (a, one), (b, two), costs)
    a, b = min(((a, b) for a in ref.last for b in hyp.last), key=lambda ends: cells[ends[0]][ends[1]][0])
    steps = []
    while a or b:
        _, previous_a, previous_b = cells[a][b]
        ref_word = ref.arcs[a].word if previous_a != a else EMPTY
        hyp_word = hyp.arcs[b].word if previous_b != b else EMPTY
        steps.append(WordPair(*(GAP if word == EMPTY else word for word in (ref_word, hyp_word))))
        a, b = previous_a, previous_b
    return [step for step in reversed(steps) if step != (GAP, GAP)]


def _best_cell(
    cells: list[list[tuple[float, int, int]]], ref: tuple[int, NetworkArc], hyp: tuple[int, NetworkArc], costs: Costs
) -> tuple[float, int, int]:
    """Return the lowest cost of reaching a cell, and the cell before it."""
    (a, one), (b, two) = ref, hyp
    deletion = EMPTY_COST if one.word == EMPTY else costs.deletion
    insertion = EMPTY_COST if two.word == EMPTY else costs.insertion
    pair = costs.substitution if one.word != two.word else 1 if one.word == EMPTY else 0
    ways = [(cells[p][q][0] + pair, p, q) for p in one.before for q in two.before]
    ways += [(cells[a][q][0] + insertion, a, q) for q in two.before]
    ways += [(cells[p][b][0] + deletion, p, b) for p in one.before]
    return min(ways, key=lambda way: way[0])

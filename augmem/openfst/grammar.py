"""A back-off n-gram model in the ARPA format as arrays of a grammar G."""

from __future__ import annotations

import lzma
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from augmem.errors import UserError
from augmem.openfst.file import NOT_FINAL, Float32Array, Int32Array

_LN10 = math.log(10)
_BEGIN, _END = "<s>", "</s>"


@dataclass(frozen=True)
class Grammar:
    """A weighted automaton over words with S states and A arcs; costs are negative natural logarithms.

    Args:
        source, words, target: (A,) states and word ids of each arc.
        costs: (A,) cost of each arc.
        backoff: (S,) state of the shorter history that each state backs off to; -1 for the empty history.
        backoff_costs: (S,) cost of backing off.
        final_costs: (S,) cost of ending, without backing off.
        start: the first state.
    """

    source: Int32Array
    words: Int32Array
    target: Int32Array
    costs: Float32Array
    backoff: Int32Array
    backoff_costs: Float32Array
    final_costs: Float32Array
    start: int

    @property
    def num_states(self) -> int:
        """Number of states S."""
        return len(self.backoff)


class _NGrams:
    """The n-grams of a file and the histories that are continued by one of them.

    A history that is not continued has no state of its own: the cost of backing off from it belongs to the arcs that
    lead to it.
    """

    def __init__(self, lines: Iterable[tuple[str, float, float]]) -> None:
        self.costs: dict[str, float] = {}
        self.backoff: dict[str, float] = {}
        self.states = {"": 0}
        for words, cost, backoff in lines:
            self.costs[words] = cost
            if backoff:
                self.backoff[words] = backoff
            history = words.rpartition(" ")[0]
            if history not in self.states:
                self.states[history] = len(self.states)

    def state_of(self, history: str) -> tuple[int, float]:
        """Return the state of the longest continued suffix of a history, and the cost of backing off to it."""
        cost = 0.0
        while (state := self.states.get(history)) is None:
            cost += self.backoff.get(history, 0.0)
            history = history.partition(" ")[2]
        return state, cost


def read_arpa_grammar(path: Path, word_ids: Mapping[str, int]) -> Grammar:
    """Read an ARPA file (plain or xz); n-grams with words that have no id are left out.

    Raises:
        FileNotFoundError: no such file.
        UserError: not an ARPA file.
    """
    opened = lzma.open if path.suffix == ".xz" else open
    with opened(path, "rt", encoding="utf-8") as stream:
        try:
            ngrams = _NGrams(_entries(stream))
        except (ValueError, lzma.LZMAError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: not an n-gram model in the ARPA format ({error})") from error
    if len(ngrams.costs) == 0:
        raise UserError(f"{path}: not an n-gram model in the ARPA format (no n-gram)")
    return _assemble(ngrams, word_ids)


def _entries(lines: Iterable[str]) -> Iterator[tuple[str, float, float]]:
    """Yield words, cost and back-off cost of each n-gram."""
    inside = False
    for line in lines:
        if line.startswith("\\"):
            inside = line.rstrip().endswith("-grams:")
        elif inside and len(fields := line.rstrip("\n").split("\t")) > 1:
            backoff = -_LN10 * float(fields[2]) if len(fields) > 2 else 0.0
            yield fields[1], -_LN10 * float(fields[0]), backoff


def _assemble(ngrams: _NGrams, word_ids: Mapping[str, int]) -> Grammar:
    size = len(ngrams.states)
    final = np.full(size, NOT_FINAL, np.float32)
    arcs: list[tuple[int, int, int]] = []
    costs: list[float] = []
    for words, cost in ngrams.costs.items():
        history, _, word = words.rpartition(" ")
        if word == _END:
            final[ngrams.states[history]] = cost
        elif word in word_ids:
            target, more = ngrams.state_of(words)
            arcs.append((ngrams.states[history], word_ids[word], target))
            costs.append(cost + more)
    lower = [ngrams.state_of(history.partition(" ")[2]) for history in ngrams.states]
    backoff = np.array([state for state, _ in lower], np.int32)
    backoff[0] = -1
    own = [ngrams.backoff.get(history, 0.0) for history in ngrams.states]
    backoff_costs = np.array([cost + more for cost, (_, more) in zip(own, lower, strict=True)], np.float32)
    source, ids, target_states = np.array(arcs, np.int32).reshape(-1, 3).T
    start, _ = ngrams.state_of(_BEGIN)
    return Grammar(source, ids, target_states, np.array(costs, np.float32), backoff, backoff_costs, final, start)

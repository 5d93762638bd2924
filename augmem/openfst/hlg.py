"""HLG, built from arrays: the words of a grammar as trees of units, in the CTC topology.

It accepts the same words at the same costs as H o L o G of `augmem.automata`, and needs neither composition nor
determinisation: from each state t of the grammar, the pronunciations of the words that it allows form a tree. States:

    E(t)  a word has ended; then silence, or the next word
    S(t)  in the silence after it
    B(t)  root of the tree of t; backs off to the root of the shorter history by an epsilon
    inner nodes of trees

The cost of an arc of a tree is that of its best word, as far as it is not counted above: the search sees costs of the
grammar early. Where one word is left in a tree, its label is emitted, and the rest of its pronunciation is shared by
all trees whose word leads to the same state. In H each of these states exists once for every last output that may
precede it (blank, or a unit), since an equal unit needs a blank in between.

The first frame of each word has the label of output + V, so that paths show where words begin: V further scores, equal
to the first V, belong to these labels.

Letters: T states of the grammar, V outputs (blank = 0), N inner nodes, A arcs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augmem.openfst.file import NOT_FINAL, OpenFstGraph
from augmem.openfst.grammar import Grammar

Array = NDArray[Any]
BLANK = 0


@dataclass(frozen=True)
class IndexedLexicon:
    """Pronunciations.

    Args:
        units: units of all pronunciations, one after the other.
        begin, end: places in `units` of each pronunciation.
        first: (words + 1,) first pronunciation of each word; those of a word are consecutive.
        silence: unit of optional silence; None for none.
        silence_probability: probability of silence at the start and after each word.
    """

    units: Array
    begin: Array
    end: Array
    first: Array
    silence: int | None
    silence_probability: float

    @staticmethod
    def from_words(
        pronunciations: Mapping[int, Sequence[Sequence[int]]], silence: int | None, probability: float
    ) -> IndexedLexicon:
        """Build from word id -> pronunciations."""
        ordered = [pronunciations.get(word, ()) for word in range(max(pronunciations) + 1)]
        flat = [form for forms in ordered for form in forms]
        end = np.cumsum([len(form) for form in flat])
        units = np.array([unit for form in flat for unit in form], np.int64)
        first = np.concatenate([[0], np.cumsum([len(forms) for forms in ordered])])
        begin = end - np.array([len(form) for form in flat])
        return IndexedLexicon(units, begin, end, first, silence if probability > 0 else None, probability)


@dataclass(frozen=True)
class _Arcs:
    """Arcs of trees: source and target nodes, units, words and costs. Targets below T are states E."""

    source: Array
    target: Array
    unit: Array
    word: Array
    cost: Array

    @staticmethod
    def join(parts: Sequence[_Arcs]) -> _Arcs:
        """Concatenate."""
        return _Arcs(*(np.concatenate([getattr(part, name) for part in parts]) for name in _Arcs.__annotations__))


class _Trees:
    """The trees of all states of a grammar. Roots are numbered as the states, 0 to T - 1, inner nodes from T on.

    Attributes:
        arcs: arcs of all trees.
        unit_into: (N,) unit of the arcs into each inner node.
    """

    def __init__(self, grammar: Grammar, lexicon: IndexedLexicon, outputs: int) -> None:
        self.roots, self.outputs, self.lexicon = grammar.num_states, outputs, lexicon
        self.count = grammar.num_states
        self._arcs: list[_Arcs] = []
        self._into: list[Array] = []
        self._entries: list[tuple[Array, Array, Array, Array, Array]] = []
        self._grow(grammar)
        self._share_ends()
        self.arcs, self.unit_into = _Arcs.join(self._arcs), np.concatenate(self._into)

    def _grow(self, grammar: Grammar) -> None:
        """Add a level of all trees at a time, as long as several words share a node."""
        lexicon = self.lexicon
        forms = np.diff(lexicon.first)[grammar.words]
        arc = np.repeat(np.arange(len(forms)), forms)
        form = lexicon.first[grammar.words[arc]] + np.arange(len(arc)) - (np.cumsum(forms) - forms)[arc]
        node, target, word = grammar.source[arc].astype(np.int64), grammar.target[arc], grammar.words[arc]
        cost, counted = grammar.costs[arc].astype(np.float64), np.zeros(len(arc))
        place = lexicon.begin[form]
        while len(node):
            unit = lexicon.units[place]
            ends = place + 1 == lexicon.end[form]
            self._add(node[ends], target[ends], unit[ends], word[ends], (cost - counted)[ends])
            inside = np.flatnonzero(~ends)
            _, group, sizes = np.unique(
                node[inside] * self.outputs + unit[inside], return_inverse=True, return_counts=True
            )
            alone, shared = inside[sizes[group] == 1], inside[sizes[group] > 1]
            self._entries.append((node[alone], form[alone], place[alone] + 1, target[alone], (cost - counted)[alone]))
            number = np.cumsum(sizes > 1) - 1
            group = number[group[sizes[group] > 1]]
            least = np.full(np.count_nonzero(sizes > 1), np.inf)
            np.minimum.at(least, group, cost[shared])
            above = np.empty(len(least), np.int64)
            above[group] = shared
            new = self.count + np.arange(len(least))
            self._add(node[above], new, unit[above], np.zeros(len(new), np.int64), least - counted[above])
            self._into.append(unit[above])
            self.count += len(new)
            node, target, word, form = new[group], target[shared], word[shared], form[shared]
            cost, counted, place = cost[shared], least[group], place[shared] + 1

    def _share_ends(self) -> None:
        """Add the ends of pronunciations: one chain of nodes per pronunciation and state that its word leads to."""
        lexicon = self.lexicon
        node, form, place, target, cost = (np.concatenate(parts) for parts in zip(*self._entries, strict=True))
        keys, chain = np.unique(form * self.roots + target, return_inverse=True)
        first = np.full(len(keys), len(lexicon.units))
        np.minimum.at(first, chain, place)
        of, to = keys // self.roots, keys % self.roots
        length = lexicon.end[of] - first
        begin = self.count + np.cumsum(length) - length
        word_of_form = np.repeat(np.arange(len(lexicon.first) - 1), np.diff(lexicon.first))
        self._add(node, begin[chain] + place - first[chain], lexicon.units[place - 1], word_of_form[form], cost)
        number = np.repeat(np.arange(len(keys)), length)
        inside = self.count + np.arange(len(number))
        at = first[number] + inside - begin[number]
        last = at + 1 == lexicon.end[of[number]]
        zero = np.zeros(len(inside), np.int64)
        self._add(inside, np.where(last, to[number], inside + 1), lexicon.units[at], zero, zero)
        self._into.append(lexicon.units[at - 1])
        self.count += len(inside)

    def _add(self, source: Array, target: Array, unit: Array, word: Array, cost: Array) -> None:
        self._arcs.append(_Arcs(source, target, unit, word, cost))


class _Pairs:
    """States of HLG that exist once for each last output: pairs of a state of the grammar and an output.

    Args:
        keys: state * outputs + output, sorted.
        base: state of HLG of the first pair.
    """

    def __init__(self, keys: Array, base: int, outputs: int) -> None:
        self.keys, self.base, self.outputs = np.unique(keys), base, outputs
        self.state, self.output = self.keys // outputs, self.keys % outputs
        self.numbers = base + np.arange(len(self.keys))
        self.end = base + len(self.keys)

    def find(self, state: Array, output: Array | int) -> Array:
        """Return the states of HLG of pairs that exist."""
        return self.base + np.searchsorted(self.keys, state * self.outputs + output)


class _Builder:
    """Collects the arcs of HLG."""

    def __init__(self) -> None:
        self.columns: list[tuple[Array, ...]] = []

    def add(
        self, source: Array, target: Array, output: Array | int | None, word: Array | int, cost: Array | float
    ) -> None:
        """Add arcs; an output of None is an epsilon."""
        label = 0 if output is None else np.asarray(output) + 1
        kinds = (np.int32, np.int32, np.int32, np.int32, np.float32)
        columns = zip((source, target, label, word, cost), kinds, strict=True)
        self.columns.append(tuple(np.broadcast_to(values, source.shape).astype(kind) for values, kind in columns))

    def graph(self, final: Array, start: int) -> OpenFstGraph:
        """Return the graph."""
        source, target, inputs, outputs, costs = (np.concatenate(parts) for parts in zip(*self.columns, strict=True))
        return OpenFstGraph(source, target, inputs, outputs, costs, final, start)


def build_openfst_hlg(
    grammar: Grammar, lexicon: IndexedLexicon, outputs: int, lm_scale: float = 1.0, word_bonus: float = 0.0
) -> OpenFstGraph:
    """Build HLG in the CTC topology.

    Args:
        grammar: G.
        lexicon: L.
        outputs: number of outputs V of the model, blank included.
        lm_scale: factor of the scores of lexicon and grammar.
        word_bonus: score added for each word.
    """
    scaled = Grammar(
        grammar.source, grammar.words, grammar.target, lm_scale * grammar.costs - np.float32(word_bonus),
        grammar.backoff, lm_scale * grammar.backoff_costs, lm_scale * grammar.final_costs, grammar.start,
    )  # fmt: skip
    return _expand(scaled, _Trees(scaled, lexicon, outputs), lexicon, outputs, lm_scale)


def _expand(grammar: Grammar, trees: _Trees, lexicon: IndexedLexicon, outputs: int, lm_scale: float) -> OpenFstGraph:
    """Compose H with the trees."""
    arcs, roots, sil = trees.arcs, trees.roots, lexicon.silence
    inner = trees.count - roots
    into_end = arcs.target < roots
    reached = np.unique(np.append(arcs.target[into_end], grammar.start))
    ended = np.append(arcs.target[into_end] * outputs + arcs.unit[into_end], reached * outputs)
    ends = _Pairs(ended, 0, outputs)
    silent = [reached * outputs, reached * outputs + sil] if sil else [np.empty(0, np.int64)]
    silences = _Pairs(np.concatenate(silent), ends.end, outputs)
    begins = _Pairs(_add_backoff(np.append(ends.keys, silences.keys), grammar, outputs), silences.end, outputs)
    in_unit = begins.end + 2 * np.arange(inner)  # the last output was the node's unit; + 1: it was blank
    built = _Builder()

    def stay(pairs: _Pairs) -> None:
        """Repeat the last output, or change to blank."""
        built.add(pairs.numbers, pairs.numbers, pairs.output, 0, 0.0)
        after_unit = pairs.output != BLANK
        built.add(pairs.numbers[after_unit], pairs.find(pairs.state[after_unit], BLANK), BLANK, 0, 0.0)

    def target_of(chosen: Array) -> Array:
        """Return the states of HLG that some arcs of trees lead to."""
        node, result = arcs.target[chosen], np.empty(len(chosen), np.int64)
        ending = node < roots
        result[ending] = ends.find(node[ending], arcs.unit[chosen][ending])
        result[~ending] = in_unit[node[~ending] - roots]
        return result

    leave = -lm_scale * np.log1p(-lexicon.silence_probability) if sil else 0.0
    for pairs, cost in ((ends, leave), (silences, 0.0)):
        stay(pairs)
        built.add(pairs.numbers, begins.find(pairs.state, pairs.output), None, 0, cost)
    if sil:
        enter = ends.output != sil
        pause = -lm_scale * np.log(lexicon.silence_probability)
        built.add(ends.numbers[enter], silences.find(ends.state[enter], sil), sil, 0, pause)
    lower = grammar.backoff[begins.state] >= 0
    state = begins.state[lower]
    built.add(
        begins.numbers[lower], begins.find(grammar.backoff[state].astype(np.int64), begins.output[lower]), None, 0,
        grammar.backoff_costs[state],
    )  # fmt: skip
    built.add(in_unit, in_unit, trees.unit_into, 0, 0.0)
    built.add(in_unit, in_unit + 1, BLANK, 0, 0.0)
    built.add(in_unit + 1, in_unit + 1, BLANK, 0, 0.0)

    def follow(source: Array, last: Array | int, chosen: Array, mark: int = 0) -> None:
        """Enter the next unit, unless it equals the last output."""
        kept = arcs.unit[chosen] != last
        chosen = chosen[kept]
        built.add(source[kept], target_of(chosen), arcs.unit[chosen] + mark, arcs.word[chosen], arcs.cost[chosen])

    from_inner = np.flatnonzero(arcs.source >= roots)
    node = arcs.source[from_inner] - roots
    follow(in_unit[node], trees.unit_into[node], from_inner)
    follow(in_unit[node] + 1, BLANK, from_inner)
    from_root = np.flatnonzero(arcs.source < roots)
    from_root = from_root[np.argsort(arcs.source[from_root], kind="stable")]
    fan = np.bincount(arcs.source[from_root], minlength=roots)
    number = np.repeat(np.arange(len(begins.keys)), fan[begins.state])
    offset = np.arange(len(number)) - (np.cumsum(fan[begins.state]) - fan[begins.state])[number]
    chosen = from_root[(np.cumsum(fan) - fan)[begins.state[number]] + offset]
    follow(begins.numbers[number], begins.output[number], chosen, mark=outputs)
    final = np.full(begins.end + 2 * inner, NOT_FINAL, np.float32)
    final[begins.numbers] = grammar.final_costs[begins.state]
    # Before the first frame no output must be followed by a blank, as after a blank.
    return built.graph(final, int(ends.find(np.array(grammar.start), BLANK)))


def _add_backoff(keys: Array, grammar: Grammar, outputs: int) -> Array:
    """Add the pairs that are reached by backing off."""
    found = new = np.unique(keys)
    while len(new):
        lower = grammar.backoff[new // outputs].astype(np.int64)
        new = np.unique((lower * outputs + new % outputs)[lower >= 0])
        found = np.append(found, new)
    return found

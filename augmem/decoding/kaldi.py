"""Lattices in Kaldi's text form, written and read back: an archive for lattice-copy ark,t: and its like.

    utterance
    source target unit word graph,acoustic
    ...
    state graph,acoustic          (a final state)
                                  (an empty line ends the lattice)

Kaldi reads numbers alone. Input symbols are the model's outputs plus one (0 is its epsilon), output symbols the numbers
of words.txt. Scores become costs: unscaled and negated. An arc of several words becomes a chain, whose further arcs
have no unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from augmem.decoding.lattice import FINAL, Lattice, arc_frames

EPSILON = 0
END = 2**62  # a state beyond all others

ArcFields = tuple[int, int, int, list[int], float, float]  # source, target, unit, words, graph, acoustic


def as_kaldi_text(name: str, lattice: Lattice) -> str:
    """One utterance's lattice; a lattice without arcs is a name and nothing else."""
    lines, fresh = [name], lattice.num_states - 1  # Kaldi has no end state: its number is free
    for arc in range(lattice.num_arcs):
        source, target, unit = int(lattice.source[arc]), int(lattice.target[arc]), int(lattice.unit[arc])
        costs = f"{cost(lattice.graph[arc])},{cost(lattice.acoustic[arc])}"
        if unit == FINAL:
            lines.append(f"{source} {costs}")
            continue
        spelt = [int(word) for word in lattice.words[arc] if word > 0] or [EPSILON]
        states = [source, *range(fresh, fresh + len(spelt) - 1), target]
        fresh += len(spelt) - 1
        for place, word in enumerate(spelt):
            label, weight = (unit + 1, costs) if place == 0 else (0, "0,0")
            lines.append(f"{states[place]} {states[place + 1]} {label} {word} {weight}")
    return "\n".join([*lines, "", ""])


def cost(score: float) -> str:
    """A score as a cost; 0 without a sign."""
    return f"{-score + 0.0:.9g}"


def read_kaldi_text(lines: Iterable[str]) -> Iterator[tuple[str, Lattice]]:
    """Names and lattices of an archive that `as_kaldi_text` made.

    Raises:
        ValueError: a line does not fit the format; the message names its number.
    """
    name = ""
    rows: list[list[str]] = []
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            if name:
                yield name, assembled(rows)
            name, rows = "", []
        elif not name:
            name = fields[0]
        elif len(fields) in (2, 5) and all(map(str.isdigit, fields[:-1])) and are_costs(fields[-1]):
            rows.append(fields)
        else:
            raise ValueError(
                f"line {number}: expected 'source target unit word graph,acoustic', found {line.strip()!r}"
            )
    if name:
        raise ValueError(f"the lattice of {name} is cut short: no empty line ends it")


def are_costs(field: str) -> bool:
    """Whether this is a graph and an acoustic cost."""
    try:
        return len([float(cost) for cost in field.split(",")]) == 2
    except ValueError:
        return False


def assembled(rows: list[list[str]]) -> Lattice:
    """A lattice from the fields of its lines."""
    inner = {row[0]: row for row in rows if row[2:3] == ["0"]}  # the further arcs of chains, by source
    arcs: list[ArcFields] = []
    for row in rows:
        if row[0] in inner:
            continue
        graph, acoustic = (-float(value) + 0.0 for value in row[-1].split(","))
        if len(row) == 2:
            arcs.append((int(row[0]), END, FINAL, [], graph, acoustic))
            continue
        target, spelt = row[1], [int(row[3])]
        while target in inner:
            target, spelt = inner[target][1], [*spelt, int(inner[target][3])]
        ids = [word for word in spelt if word != EPSILON]
        arcs.append((int(row[0]), int(target), int(row[2]) - 1, ids, graph, acoustic))
    return from_arcs(arcs)


def from_arcs(arcs: Sequence[ArcFields]) -> Lattice:
    """A lattice of these arcs, states numbered afresh."""
    states = np.unique([state for arc in arcs for state in arc[:2]]).astype(np.int64)
    source, target = (np.searchsorted(states, np.array([arc[n] for arc in arcs], dtype=np.int64)) for n in (0, 1))
    order = np.argsort(source, kind="stable")
    table = np.zeros((len(arcs), max([1, *(len(arc[3]) for arc in arcs)])), dtype=np.int64)
    for place, arc in enumerate(arcs):
        table[place, : len(arc[3])] = arc[3]
    frame = arc_frames(source[order], target[order])
    unit = np.array([arc[2] for arc in arcs], dtype=np.int64)
    graph, acoustic = (np.array([arc[n] for arc in arcs], dtype=np.float64) for n in (4, 5))
    begun = (table > 0).sum(axis=1)  # Kaldi's form does not say where words begin, only where they are emitted
    return Lattice(
        source[order], target[order], frame, unit[order], table[order], begun[order], acoustic[order], graph[order],
        int(frame.max(initial=0)),
    )  # fmt: skip

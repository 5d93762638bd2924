"""Reader of lattices in Kaldi's text format, for tests of the writer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from augmem.decoding.lattice import FINAL, Ints, Lattice, ranges

EPSILON = 0
END = 2**62  # a state after all others

ArcFields = tuple[int, int, int, list[int], float, float]  # source, target, unit, words, graph, acoustic


def read_kaldi_text(lines: Iterable[str]) -> Iterator[tuple[str, Lattice]]:
    """Yield names and lattices of an archive written by `as_kaldi_text`.

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
    """Return whether a field holds a graph and an acoustic cost."""
    try:
        return len([float(cost) for cost in field.split(",")]) == 2
    except ValueError:
        return False


def assembled(rows: list[list[str]]) -> Lattice:
    """Make a lattice from the fields of its lines."""
    inner = {row[0]: row for row in rows if row[2:3] == ["0"]}  # the further arcs of chains, by source
    arcs: list[ArcFields] = []
    for row in rows:
        if row[0] in inner:
            continue
        graph, acoustic = (-float(value) + 0.0 for value in row[-1].split(","))
        if len(row) == 2:
            arcs.append((int(row[0]), END, FINAL, [], graph, acoustic))
            continue
        target, words = row[1], [int(row[3])]
        while target in inner:
            target, words = inner[target][1], [*words, int(inner[target][3])]
        ids = [word for word in words if word != EPSILON]
        arcs.append((int(row[0]), int(target), int(row[2]) - 1, ids, graph, acoustic))
    return from_arcs(arcs)


def from_arcs(arcs: Sequence[ArcFields]) -> Lattice:
    """Make a lattice of these arcs, with new state numbers."""
    states = np.unique([state for arc in arcs for state in arc[:2]]).astype(np.int64)
    source, target = (np.searchsorted(states, np.array([arc[n] for arc in arcs], dtype=np.int64)) for n in (0, 1))
    order = np.argsort(source, kind="stable")
    table = np.zeros((len(arcs), max([1, *(len(arc[3]) for arc in arcs)])), dtype=np.int64)
    for place, arc in enumerate(arcs):
        table[place, : len(arc[3])] = arc[3]
    frame = arc_frames(source[order], target[order])
    unit = np.array([arc[2] for arc in arcs], dtype=np.int64)
    graph, acoustic = (np.array([arc[n] for arc in arcs], dtype=np.float64) for n in (4, 5))
    starts = (table > 0).sum(axis=1)  # Kaldi's form has no word starts, so words start where they are emitted
    return Lattice(
        source[order], target[order], frame, unit[order], table[order], starts[order], acoustic[order], graph[order],
        int(frame.max(initial=0)),
    )  # fmt: skip


def arc_frames(source: Ints, target: Ints) -> Ints:
    """Compute the frame (A,) of each arc of a frame-synchronous lattice: the depth of its source state.

    Arcs are sorted by source.
    """
    source, target = source.astype(np.int64), target.astype(np.int64)
    frames = np.full(len(source), -1, dtype=np.int64)
    splits = np.searchsorted(source, np.arange(int(target.max(initial=-1)) + 2))
    states, frame = np.zeros(1, dtype=np.int64), 0
    while len(states) and len(source):
        leaving = ranges(splits[states], splits[states + 1] - splits[states])
        frames[leaving] = frame
        states, frame = np.unique(target[leaving]), frame + 1
    return frames

"""Topologies against an independent definition of the unit sequences of each frame sequence."""

from __future__ import annotations

import itertools
from collections import Counter

import k2
import pytest
import torch

from augmem.automata import build_topology
from augmem.graph import TOPOLOGIES, num_outputs, output_units
from tests.automata.brute_force import readings


def paths(topology: k2.Fsa, frames: list[int]) -> Counter[tuple[int, ...]]:
    """Unit sequences of all paths that read `frames`, found by walking the arcs."""
    arcs = list(zip(topology.arcs.values()[:, :3].tolist(), topology.aux_labels.tolist(), strict=True))
    found: Counter[tuple[int, ...]] = Counter({(0, ()): 1})  # type: ignore[dict-item]
    for label in [*frames, -1]:
        after: Counter = Counter()
        for (state, units), ways in found.items():
            for (source, target, read, unit), *_ in (((*arc, unit), 0) for arc, unit in arcs):
                if source == state and read == label:
                    after[target, (*units, unit) if unit > 0 else units] += ways
        found = after
    return Counter({units: ways for (_, units), ways in found.items()})


@pytest.mark.parametrize("biphones", [(), ((1, 2), (2, 2)), ((0, 1), (2, 1))])
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_unit_sequences_of_all_short_frame_sequences(name: str, biphones: tuple[tuple[int, int], ...]) -> None:
    num_units = 3
    topology = build_topology(name, num_units, biphones)
    for frames in itertools.product(range(num_outputs(name, num_units, biphones)), repeat=4):
        assert paths(topology, list(frames)) == Counter(readings(name, frames, num_units, biphones)), frames


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_output_units_match_the_arcs(name: str) -> None:
    """Every arc that starts a unit has an output of that unit."""
    biphones = ((0, 1), (2, 1), (3, 2))
    topology, unit_of = build_topology(name, 4, biphones), output_units(name, 4, biphones)
    pairs = zip(topology.labels.tolist(), topology.aux_labels.tolist(), strict=True)
    assert all(unit_of[label] == unit for label, unit in pairs if unit > 0)
    assert len(unit_of) == (13 if name == "chain" else 7)


def test_ctc_equals_the_topology_of_k2() -> None:
    ours, theirs = build_topology("ctc", 5), k2.arc_sort(k2.ctc_topo(4))
    assert k2.is_rand_equivalent(ours, theirs, log_semiring=True)
    assert torch.equal(ours.arcs.values()[:, :3], theirs.arcs.values()[:, :3])


def test_number_of_arcs_is_linear_except_for_ctc() -> None:
    assert build_topology("ctc", 100).num_arcs == 100 * 101
    assert build_topology("modified_ctc", 100).num_arcs < 600
    assert build_topology("chain", 100).num_arcs < 600


@pytest.mark.parametrize("arguments", [("cct", 5), ("ctc", 1), ("ctc", 3, [(1, 3)]), ("ctc", 3, [(1, 2), (1, 2)])])
def test_invalid_arguments_are_refused(arguments: tuple) -> None:
    with pytest.raises(ValueError, match=r"'cct'|num_units is 1|\[\(1, 3\)\]|a pair is repeated"):
        build_topology(*arguments)

"""Topologies H: transducers from frames (the model's outputs) to units.

Numerators, denominator and decoding graph are all composed from the transducer this module builds for one
name, so they cannot differ. Units are numbered 1 .. num_units - 1; 0 is the blank. All states are final, so
that units may follow one another without end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import k2

from augmem.graph.fsa import Arc, build_fsa


def num_outputs(name: str, num_units: int) -> int:
    """Number of outputs the acoustic model needs for `num_units` units, the blank among them.

    "hmm" and "chain" have no blank: they leave output 0 unused.
    """
    _check(name, num_units)
    return 2 * num_units - 1 if name == "chain" else num_units


def build_topology(name: str, num_units: int) -> k2.Fsa:
    """Build H for units 1 .. num_units - 1: labels are the model's outputs, aux_labels units or 0 for none.

    - ctc: blanks between units may be left out except between two equal ones. Deterministic, about
      num_units^2 arcs.
    - modified_ctc: as ctc, but equal units need no blank between them, so a run of frames stands for one unit
      or several, and all readings are summed. About 6 num_units arcs.
    - hmm: modified_ctc without blank: every frame belongs to a unit.
    - chain: a unit's first frame has output u, its further frames u + num_units - 1. Unambiguous.

    Raises:
        ValueError: the name is unknown or there is no unit beside the blank.
    """
    _check(name, num_units)
    return k2.arc_sort(build_fsa(_BUILDERS[name](num_units)))


def _check(name: str, num_units: int) -> None:
    if name not in _BUILDERS:
        raise ValueError(f"unknown topology {name!r}; it must be one of {', '.join(_BUILDERS)}")
    if num_units < 2:
        raise ValueError(f"a topology needs a unit beside the blank, but num_units is {num_units}")


def _ctc(num_units: int) -> Iterator[Arc]:
    """State u: the last frame was u (0: blank, or nothing yet)."""
    for last in range(num_units):
        yield Arc(last, num_units, -1, -1)
        for now in range(num_units):
            yield Arc(last, now, now, 0 if now == last else now)


def _modified_ctc(num_units: int) -> Iterator[Arc]:
    yield Arc(0, 0, 0, 0)
    yield from _loops(num_units, longer=0)


def _hmm(num_units: int) -> Iterator[Arc]:
    return _loops(num_units, longer=0)


def _chain(num_units: int) -> Iterator[Arc]:
    return _loops(num_units, longer=num_units - 1)


def _loops(num_units: int, longer: int) -> Iterator[Arc]:
    """State 0 lies between units, state u within u; frames after a unit's first have output u + `longer`."""
    yield Arc(0, num_units, -1, -1)
    for unit in range(1, num_units):
        yield Arc(0, 0, unit, unit)
        yield Arc(0, unit, unit, unit)
        yield Arc(unit, unit, unit + longer, 0)
        yield Arc(unit, 0, unit + longer, 0)


_BUILDERS: dict[str, Callable[[int], Iterator[Arc]]] = {
    "ctc": _ctc, "modified_ctc": _modified_ctc, "hmm": _hmm, "chain": _chain,
}  # fmt: skip

"""Topologies H: transducers from frames (the model's outputs) to units.

Numerators, denominator and decoding graph are composed from the same transducer, built here from a name and a list of
biphones. Units are 1 to num_units - 1; 0 is the blank. The model's outputs are classes of units in context
(`augmem.graph.Classes`), or units. Every state in which a unit may start or end is final.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from augmem.automata.fsa import Arc, build_fsa
from augmem.graph import Biphones, Classes, check_topology
from augmem.lazy_k2 import k2


def build_topology(name: str, num_units: int, biphones: Biphones = ()) -> k2.Fsa:
    """Build H for units 1 .. num_units - 1: labels are the model's outputs, aux_labels units or 0 for none.

    - ctc: blanks between units are optional except between two units of equal class. Deterministic, about
      num_units^2 arcs, and num_units more per biphone.
    - modified_ctc: as ctc, but equal units need no blank between them: a run of frames may be one unit or several, and
      all alternatives are summed. About 6 num_units arcs.
    - hmm: modified_ctc without blank: every frame belongs to a unit.
    - chain: the first frame of a unit of class c has output c, later frames output c + (number of classes - 1).
      Unambiguous. As in Kaldi's chain models (Povey et al., Interspeech 2016).

    Args:
        name: ctc, modified_ctc, hmm or chain.
        num_units: number of units including the blank.
        biphones: pairs (left, unit) with a class of their own; see `Classes`.

    Raises:
        ValueError: the name is unknown, there is no unit besides the blank, or a biphone is not of these units.

    Example:
        >>> build_topology("hmm", num_units=3).num_arcs
        9
    """
    check_topology(name)
    return k2.arc_sort(build_fsa(_BUILDERS[name](Classes(num_units, biphones))))


class _States:
    """Numbers of the states of H: gaps between units, one per left context, then one state per class."""

    def __init__(self, classes: Classes) -> None:
        self.classes = classes
        self.gaps = list(enumerate(classes.lefts))
        self.final = self.inside(len(classes))

    def inside(self, of_class: int) -> int:
        """Return the state in which the last frame was of this class."""
        return len(self.gaps) - 1 + of_class

    def gap_after(self, of_class: int) -> int:
        """Return the gap after a unit of this class."""
        return self.classes.place(self.classes.unit_of[of_class])


def _ctc(classes: Classes) -> Iterator[Arc]:
    """Yield the arcs of ctc; in a gap the last frame was blank, or there was none."""
    states = _States(classes)
    for gap, left in states.gaps:
        yield Arc(gap, states.final, -1, -1)
        yield Arc(gap, gap, 0, 0)
        for unit in classes.units:
            yield Arc(gap, states.inside(classes.of(left, unit)), classes.of(left, unit), unit)
    for last in range(1, len(classes)):
        yield Arc(states.inside(last), states.final, -1, -1)
        yield Arc(states.inside(last), states.gap_after(last), 0, 0)
        yield Arc(states.inside(last), states.inside(last), last, 0)
        for unit in classes.units:
            now = classes.of(classes.unit_of[last], unit)
            if now != last:
                yield Arc(states.inside(last), states.inside(now), now, unit)


def _modified_ctc(classes: Classes) -> Iterator[Arc]:
    for gap, _ in _States(classes).gaps:
        yield Arc(gap, gap, 0, 0)
    yield from _loops(classes, longer=0)


def _hmm(classes: Classes) -> Iterator[Arc]:
    return _loops(classes, longer=0)


def _chain(classes: Classes) -> Iterator[Arc]:
    return _loops(classes, longer=len(classes) - 1)


def _loops(classes: Classes, longer: int) -> Iterator[Arc]:
    """Yield the arcs of units; frames after the first of a unit of class c have output c + `longer`."""
    states = _States(classes)
    for gap, left in states.gaps:
        yield Arc(gap, states.final, -1, -1)
        for unit in classes.units:
            now = classes.of(left, unit)
            yield Arc(gap, states.gap_after(now), now, unit)
            yield Arc(gap, states.inside(now), now, unit)
    for now in range(1, len(classes)):
        yield Arc(states.inside(now), states.inside(now), now + longer, 0)
        yield Arc(states.inside(now), states.gap_after(now), now + longer, 0)


_BUILDERS: dict[str, Callable[[Classes], Iterator[Arc]]] = {
    "ctc": _ctc, "modified_ctc": _modified_ctc, "hmm": _hmm, "chain": _chain,
}  # fmt: skip

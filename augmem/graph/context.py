"""Context-dependent units: left biphones, tied by counts.

A model with context scores classes. Class u < num_units is unit u after any unit (0 is the blank); each further class
is one biphone, a unit after one particular unit. Biphones without a class of their own share the class of their unit.
As in Kaldi's chain recipes, only left context is used; it is known when a unit starts, so streaming needs no look-ahead
for it. Over letters, the classes are the chenones of arXiv 1910.01493.

Only the topology H depends on context: the labels of lexicon, phone LM and grammar are units.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from augmem.errors import UserError
from augmem.files import sha256_json, write_text

BEGINNING = 0  # the left context of the first unit of a transcript
ANY = -1  # all units that are not the left context of any biphone
BIPHONES_FILE = "biphones.tsv"

Biphones = Sequence[Sequence[int]]


class Biphone(NamedTuple):
    """A unit after another one, or after BEGINNING."""

    left: int
    unit: int


class Classes:
    """The classes of units in their contexts.

    Args:
        num_units: units including the blank.
        biphones: pairs (left, unit) with a class of their own, in the order of their classes.

    Raises:
        ValueError: there is no unit besides the blank, or the biphones are not distinct pairs of units.

    Example:
        >>> classes = Classes(3, [(1, 2)])  # blank, units 1 and 2, and a class for unit 2 after unit 1
        >>> len(classes), classes.of(1, 2), classes.of(2, 2)
        (4, 3, 2)
    """

    def __init__(self, num_units: int, biphones: Sequence[Sequence[int]] = ()) -> None:
        if num_units < 2:
            raise ValueError(f"a topology needs a unit besides the blank, but num_units is {num_units}")
        pairs = [Biphone(*pair) for pair in biphones]
        odd = [tuple(p) for p in pairs if not (0 <= p.left < num_units and 0 < p.unit < num_units)]
        if odd or len(set(pairs)) < len(pairs):
            raise ValueError(f"biphones must be distinct pairs of {num_units} units: {odd or 'a pair is repeated'}")
        self.units = range(1, num_units)
        self.unit_of = [*range(num_units), *(pair.unit for pair in pairs)]  # by class
        self.lefts = sorted({ANY, *(pair.left for pair in pairs)}, key=lambda left: (left != BEGINNING, left))
        self._class_of = {pair: num_units + n for n, pair in enumerate(pairs)}
        self._place = {left: n for n, left in enumerate(self.lefts)}

    def __len__(self) -> int:
        """Return the number of classes, including the blank."""
        return len(self.unit_of)

    def of(self, left: int, unit: int) -> int:
        """Return the class of a unit after `left`."""
        return self._class_of.get(Biphone(left, unit), unit)

    def place(self, left: int) -> int:
        """Return the index in `lefts` of a left unit, or of ANY; 0 at the beginning of a transcript."""
        return self._place.get(left, self._place[ANY])


def frequent_biphones(
    sequences: Sequence[Sequence[int]], min_count: int, excluded: Sequence[int] = ()
) -> dict[Biphone, int]:
    """Count the biphones of unit sequences.

    Args:
        sequences: unit sequences, one per transcript.
        min_count: rarer biphones are left out.
        excluded: units without context, such as silence.

    Returns:
        Biphones, sorted, and their counts.
    """
    counts = Counter(Biphone(*pair) for units in sequences for pair in pairwise([BEGINNING, *units]))
    return {pair: n for pair, n in sorted(counts.items()) if n >= min_count and pair.unit not in excluded}


def context_hash(biphones: Iterable[Sequence[int]]) -> str:
    """Return a hash of the classes; empty without context."""
    pairs = [list(pair) for pair in biphones]
    return sha256_json(pairs) if pairs else ""


def write_biphones(path: Path, counts: Mapping[Biphone, int], unit_of: Mapping[int, str]) -> None:
    """Write a table with one line per biphone: left unit, unit, count.

    Args:
        path: file to write.
        counts: biphones in the order of their outputs.
        unit_of: name of each unit id.
    """
    rows = [f"{unit_of[pair.left]}\t{unit_of[pair.unit]}\t{count}\n" for pair, count in counts.items()]
    write_text(path, "".join(["left\tunit\tcount\n", *rows]))


def read_biphones(path: Path, tokens: Mapping[str, int]) -> tuple[Biphone, ...]:
    """Read the table that `write_biphones` wrote; without a file there is no context.

    Raises:
        UserError: a line does not name two units.
    """
    lines = path.read_text(encoding="utf-8").splitlines()[1:] if path.is_file() else []
    pairs = []
    for number, line in enumerate(lines, start=2):
        left, _, rest = line.partition("\t")
        unit = rest.split("\t")[0]
        if left not in tokens or unit not in tokens:
            raise UserError(f"{path}:{number}: {line!r} does not name two units; run the stage graphs again")
        pairs.append(Biphone(tokens[left], tokens[unit]))
    return tuple(pairs)

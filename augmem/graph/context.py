"""Context-dependent units: left biphones, tied by counts.

What a model scores are classes. Class u < num_units is unit u whatever stands before it (0 is the blank); every
further class is one biphone, a unit after one certain unit. Biphones without a class of their own share their unit's.
Left context alone, as in Kaldi's chain recipes, is known when a unit begins: streaming waits for nothing. Over letters
the classes are what arXiv 1910.01493 calls chenones.

Context is a matter of the topology H alone: lexicon, phone LM and grammar go on speaking of units.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from augmem.files import sha256_json, write_text

BEGINNING = 0  # stands for what comes before a transcript's first unit
ANY = -1  # stands for every unit that no biphone has on its left
BIPHONES_FILE = "biphones.tsv"


class Biphone(NamedTuple):
    """A unit after another one, or after BEGINNING."""

    left: int
    unit: int


class Classes:
    """The classes of units in their contexts.

    Args:
        num_units: units including the blank.
        biphones: pairs (left, unit) that have a class of their own, in the order of their classes.

    Raises:
        ValueError: there is no unit beside the blank, or the biphones are not different pairs of units.
    """

    def __init__(self, num_units: int, biphones: Sequence[Sequence[int]] = ()) -> None:
        if num_units < 2:
            raise ValueError(f"a topology needs a unit beside the blank, but num_units is {num_units}")
        pairs = [Biphone(*pair) for pair in biphones]
        odd = [tuple(p) for p in pairs if not (0 <= p.left < num_units and 0 < p.unit < num_units)]
        if odd or len(set(pairs)) < len(pairs):
            raise ValueError(f"biphones must be different pairs of {num_units} units: {odd or 'one is there twice'}")
        self.units = range(1, num_units)
        self.unit_of = [*range(num_units), *(pair.unit for pair in pairs)]  # by class
        self.lefts = sorted({ANY, *(pair.left for pair in pairs)}, key=lambda left: (left != BEGINNING, left))
        self._class_of = {pair: num_units + n for n, pair in enumerate(pairs)}
        self._place = {left: n for n, left in enumerate(self.lefts)}

    def __len__(self) -> int:
        """Number of classes, the blank among them."""
        return len(self.unit_of)

    def of(self, left: int, unit: int) -> int:
        """Class of a unit after `left`."""
        return self._class_of.get(Biphone(left, unit), unit)

    def place(self, left: int) -> int:
        """Index in `lefts` of a left unit, or of ANY where it makes no difference; 0 at the beginning."""
        return self._place.get(left, self._place[ANY])


def frequent_biphones(sequences: Sequence[Sequence[int]], least: int, apart: Sequence[int] = ()) -> dict[Biphone, int]:
    """Biphones that occur at least so often in unit sequences, sorted, with their counts.

    Args:
        apart: units that sound the same whatever comes before them: silence.
    """
    counts = Counter(Biphone(*pair) for units in sequences for pair in pairwise([BEGINNING, *units]))
    return {pair: n for pair, n in sorted(counts.items()) if n >= least and pair.unit not in apart}


def context_hash(biphones: Iterable[Sequence[int]]) -> str:
    """What tells one choice of classes from another; empty without context."""
    pairs = [list(pair) for pair in biphones]
    return sha256_json(pairs) if pairs else ""


def write_biphones(path: Path, counts: Mapping[Biphone, int], unit_of: Mapping[int, str]) -> None:
    """One line a class: left unit, unit, count."""
    rows = [f"{unit_of[pair.left]}\t{unit_of[pair.unit]}\t{count}\n" for pair, count in counts.items()]
    write_text(path, "".join(["left\tunit\tcount\n", *rows]))


def read_biphones(path: Path, tokens: Mapping[str, int]) -> tuple[Biphone, ...]:
    """What `write_biphones` wrote; none if there is no such file, since graphs without context need none.

    Raises:
        ValueError: a line is at fault.
    """
    lines = path.read_text(encoding="utf-8").splitlines()[1:] if path.is_file() else []
    pairs = []
    for number, line in enumerate(lines, start=2):
        left, _, rest = line.partition("\t")
        unit = rest.split("\t")[0]
        if left not in tokens or unit not in tokens:
            raise ValueError(f"{path}:{number}: {line!r} names no two units of tokens.txt; run the stage graphs again")
        pairs.append(Biphone(tokens[left], tokens[unit]))
    return tuple(pairs)

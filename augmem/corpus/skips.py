"""What was left out of a corpus and why: counted, listed in a file, said at the end, never silent."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from augmem.files import write_text

logger = logging.getLogger(__name__)

SKIPPED = "skipped.tsv"
_HEADER = "id\treason\tdetail"


class Skip(NamedTuple):
    """One item left out: its id, a reason in a few words to count by, and where and how to mend it."""

    id: str
    reason: str
    detail: str


@dataclass
class SkipList:
    """The items left out so far.

    Args:
        items: in the order in which they were met.
    """

    items: list[Skip] = field(default_factory=list)

    def add(self, id: str, reason: str, detail: str = "") -> None:
        """Note that `id` is left out."""
        self.items.append(Skip(id, reason, detail))

    def extend(self, skips: list[Skip]) -> None:
        """Note several items, such as those met by another process."""
        self.items.extend(skips)

    def fault(self, message: str) -> None:
        """Meet what no corpus may have: nothing is left out for it, it must be mended.

        Raises:
            ValueError: always; only a validator collects such messages and goes on.
        """
        raise ValueError(message)

    def __iter__(self) -> Iterator[Skip]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def counts(self) -> dict[str, int]:
        """How many items per reason, the commonest first."""
        return dict(Counter(skip.reason for skip in self.items).most_common())

    def write(self, path: Path) -> None:
        """Write a table with one line per item; a table without lines says that nothing was skipped."""
        rows = ("\t".join(" ".join(cell.split()) for cell in skip) for skip in self.items)
        write_text(path, "\n".join([_HEADER, *rows]) + "\n")

    @classmethod
    def read(cls, path: Path) -> SkipList:
        """Read a table that `write` wrote."""
        rows = path.read_text(encoding="utf-8").splitlines()[1:]
        return cls([Skip(*row.split("\t")) for row in rows])

    def report(self, name: str, kept: int, listed_in: Path) -> None:
        """Log how much of `name` was kept and what was left out, with one example per reason."""
        if not self.items:
            return
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.counts().items())
        total = kept + len(self)
        logger.warning("%s: skipped %d of %d (%s); listed in %s", name, len(self), total, reasons, listed_in.name)
        examples = {skip.reason: skip for skip in reversed(self.items)}
        for skip in examples.values():
            logger.warning("  e.g. %s: %s: %s", skip.id, skip.reason, skip.detail)

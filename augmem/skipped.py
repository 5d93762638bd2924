"""Utterances that were left out, with their reasons: skipped.tsv."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from augmem.errors import UserError
from augmem.files import write_text

logger = logging.getLogger(__name__)

SKIPPED_FILE = "skipped.tsv"
_HEADER = "id\treason\tdetail"


class SkippedUtterance(NamedTuple):
    """An utterance that was left out.

    Args:
        id: id of the utterance.
        reason: a few words, the same for all utterances skipped for it.
        detail: file, line, value and remedy.
    """

    id: str
    reason: str
    detail: str = ""


@dataclass
class SkipLog:
    """Utterances skipped so far.

    Args:
        items: skipped utterances in the order in which they were added.

    Example:
        >>> log = SkipLog()
        >>> log.add("7-1-0000", "missing audio")
        >>> log.counts()
        {'missing audio': 1}
    """

    items: list[SkippedUtterance] = field(default_factory=list)

    def add(self, id: str, reason: str, detail: str = "") -> None:
        """Add an utterance.

        Args:
            id: the utterance.
            reason: reason, as counted in the summary.
            detail: details, such as file and line.
        """
        self.items.append(SkippedUtterance(id, reason, detail))

    def extend(self, items: list[SkippedUtterance]) -> None:
        """Add several utterances, such as those skipped in another process."""
        self.items.extend(items)

    def error(self, message: str) -> None:
        """Report an error in the data that skipping an utterance cannot solve.

        Raises:
            UserError: always; a validator overrides this method to collect all messages.
        """
        raise UserError(message)

    def __iter__(self) -> Iterator[SkippedUtterance]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def counts(self) -> dict[str, int]:
        """Return the number of utterances per reason, the most frequent first."""
        return dict(Counter(item.reason for item in self.items).most_common())

    def write(self, path: Path) -> None:
        """Write skipped.tsv; it has a header line only if nothing was skipped."""
        rows = ("\t".join(" ".join(cell.split()) for cell in item) for item in self.items)
        write_text(path, "\n".join([_HEADER, *rows]) + "\n")

    def log(self, name: str, kept: int, path: Path | None) -> None:
        """Log how many utterances were skipped, with one example per reason.

        Args:
            name: name of the part or stage.
            kept: number of utterances that were not skipped.
            path: file that lists the skipped ones; None: nothing is written.
        """
        if not self.items:
            return
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.counts().items())
        total = kept + len(self)
        place = f"listed in {path.name}" if path else "augmem validate lists them"
        logger.warning("%s: skipped %d of %d (%s); %s", name, len(self), total, reasons, place)
        examples = {item.reason: item for item in reversed(self.items)}
        for item in examples.values():
            logger.warning("  e.g. %s: %s: %s", item.id, item.reason, item.detail)


def read_skipped(path: Path) -> list[SkippedUtterance]:
    """Read a skipped.tsv.

    Raises:
        UserError: a line does not have three fields.
    """
    items = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[1:], start=2):
        fields = line.split("\t")
        if len(fields) != 3:
            raise UserError(f"{path}:{number}: expected id, reason and detail between tabs, found {line!r}")
        items.append(SkippedUtterance(*fields))
    return items

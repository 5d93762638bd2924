"""What every corpus looks like to the rest: named parts, each a stream of utterances."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from augmem.corpus.manifests import Utterance
from augmem.corpus.skips import SkipList


@dataclass(frozen=True)
class Parts:
    """Which parts of a corpus serve for what.

    Args:
        train: parts to train on.
        dev: parts to tune on.
        test: parts to report on, touched by nothing before.
    """

    train: tuple[str, ...] = ()
    dev: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def all(self) -> tuple[str, ...]:
        """Every part once, in the order train, dev, test."""
        return tuple(dict.fromkeys(self.train + self.dev + self.test))


def parts_by_name(names: tuple[str, ...]) -> Parts:
    """Parts called train*, dev* (or valid*) and test* serve for that; a single part is for training."""
    if len(names) == 1:
        return Parts(train=names)
    return Parts(*(tuple(n for n in names if n.startswith(role)) for role in ("train", ("dev", "valid"), "test")))


class Source(Protocol):
    """A corpus that lies ready on disk."""

    def names(self) -> tuple[str, ...]:
        """All parts that it has."""

    def defaults(self) -> Parts:
        """Which of them serve for what unless the user says otherwise."""

    def utterances(self, part: str, skips: SkipList) -> Iterator[Utterance]:
        """All utterances of a part; `skips` receives what can't even be described as one."""

"""The interface of a corpus: named parts with utterances."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from augmem.corpus.manifests import CorpusUtterance
from augmem.skipped import SkipLog


@dataclass(frozen=True)
class Parts:
    """Parts of a corpus by role.

    Args:
        train: parts to train on.
        dev: parts to tune on.
        test: parts to report on.

    Example:
        >>> Parts(("train-clean-5",), ("dev-held",), ("test-held",)).all()
        ('train-clean-5', 'dev-held', 'test-held')
    """

    train: tuple[str, ...] = ()
    dev: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def all(self) -> tuple[str, ...]:
        """Return every part once, in the order train, dev, test."""
        return tuple(dict.fromkeys(self.train + self.dev + self.test))


def parts_by_name(names: tuple[str, ...]) -> Parts:
    """Assign roles to parts named train*, dev* (or valid*) and test*; a single part is for training.

    Example:
        >>> parts_by_name(("train-a", "valid", "notes"))
        Parts(train=('train-a',), dev=('valid',), test=())
    """
    if len(names) == 1:
        return Parts(train=names)
    return Parts(*(tuple(n for n in names if n.startswith(role)) for role in ("train", ("dev", "valid"), "test")))


class CorpusReader(ABC):
    """Reads a corpus of one format."""

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Return the names of the parts that the corpus has."""

    def more_names(self) -> tuple[str, ...]:
        """Return the names of further parts that can be unpacked or downloaded."""
        return ()

    def defaults(self, train: tuple[str, ...] = ()) -> Parts:
        """Return the parts of each role that are used unless the user chooses others.

        Args:
            train: training parts that the user chose.
        """
        return parts_by_name(self.names())

    @abstractmethod
    def utterances(self, part: str, skipped: SkipLog) -> Iterator[CorpusUtterance]:
        """Yield all utterances of a part.

        Args:
            part: one of `names()` or `more_names()`.
            skipped: receives entries that are not utterances, such as audio without a transcript.

        Raises:
            UserError: a file of the part is missing or malformed.
        """

"""Progress of long loops with the time left: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

logger = logging.getLogger(__name__)

FIRST_LINE_DELAY = 5.0  # seconds
INTERVAL = 60.0  # a log file of a day has some 1,000 lines of progress


class Progress:
    """Report the progress of a loop and the time left.

    Args:
        name: name of the loop, in every line.
        total: number of units of work.
        unit: name of the units, in the plural.
        clock: returns seconds; replaced in tests.

    Example:
        >>> with Progress("features of train", total=2, unit="cuts") as progress:
        ...     for cut in ("a", "b"):
        ...         progress.advance()
        >>> progress.done
        2
    """

    def __init__(self, name: str, total: int, unit: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self.total, self.unit, self.done = name, total, unit, 0
        self._clock, self._started = clock, clock()
        self._next_line = self._started + FIRST_LINE_DELAY
        self._bar = tqdm(total=total, desc=name, unit=f" {unit}", leave=False, disable=not on_terminal())

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def advance(self, number: int = 1) -> None:
        """Add `number` units; log a line if the last one is old enough."""
        self.done += number
        self._bar.update(number)
        now = self._clock()
        if self._bar.disable and now >= self._next_line and self.done < self.total:
            self._next_line = now + INTERVAL
            logger.info(
                "%s: %d of %d %s, %s left", self.name, self.done, self.total, self.unit,
                format_duration(self.seconds_left(now)),
            )  # fmt: skip

    def seconds_left(self, now: float | None = None) -> float:
        """Estimate the remaining time from the mean speed so far, in seconds; nan before the first unit."""
        elapsed = (self._clock() if now is None else now) - self._started
        return elapsed / self.done * (self.total - self.done) if self.done else float("nan")


def track(items: Iterable[T], name: str, total: int, unit: str) -> Iterator[T]:
    """Yield `items` and report progress after each.

    Example:
        >>> list(track("ab", "features of train", total=2, unit="cuts"))
        ['a', 'b']
    """
    with Progress(name, total, unit) as progress:
        for item in items:
            yield item
            progress.advance()


def on_terminal() -> bool:
    """Return whether both the log (stdout) and the bar (stderr) go to a terminal."""
    return sys.stdout.isatty() and sys.stderr.isatty()


def format_duration(seconds: float) -> str:
    """Format a duration.

    Example:
        >>> format_duration(9.3), format_duration(725), format_duration(40000)
        ('9.3 s', '12 min 5 s', '11 h 6 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min {int(seconds % 60)} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"

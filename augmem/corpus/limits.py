"""Limits on the utterances of training parts."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from lhotse import SupervisionSegment

from augmem.errors import UserError
from augmem.skipped import SkippedUtterance

logger = logging.getLogger(__name__)

LONGEST = 40.0  # s


@dataclass(frozen=True)
class Limits:
    """Limits on the utterances of training parts; others are skipped.

    Dev and test parts are not limited, since an error rate over the rest would be too low. A dev part taken from the
    training parts is limited.

    Args:
        shortest: lower limit of the duration, in seconds.
        longest: upper limit of the duration, in seconds; null: none. The time of a training step grows with the
            square of the duration, its memory in proportion.
        most_characters: upper limit of transcript characters (with spaces) per second; speech cannot
            be faster, so the transcript belongs to other audio. Read English has about 15. null: none.
        fewest_characters: lower limit of characters per second; at a lower rate, most of the transcript is missing.
        exclude_speakers: speakers to leave out of training, such as those of a dev or test part.

    Example:
        >>> segment = SupervisionSegment("7-1-0000", "7-1-0000", 0, 2.0, text="GOOD MORNING", speaker="7")
        >>> Limits(shortest=3.0).check(segment, "7-1.trans.txt:1").reason
        'too short'
    """

    shortest: float = 0.0
    longest: float | None = LONGEST
    most_characters: float | None = None
    fewest_characters: float = 0.0
    exclude_speakers: tuple[str | int, ...] = ()

    def __post_init__(self) -> None:
        for low, high in (("shortest", "longest"), ("fewest_characters", "most_characters")):
            least, most = getattr(self, low), getattr(self, high)
            if least < 0 or (most is not None and most <= least):
                raise UserError(
                    f"corpus.limits.{low}={least} and corpus.limits.{high}={most}: must be positive and ascending"
                )

    def check(self, utterance: SupervisionSegment, origin: str) -> SkippedUtterance | None:
        """Return the reason for which an utterance is skipped; None if it is within the limits.

        Args:
            utterance: an utterance with a positive duration.
            origin: file and line of the utterance, for messages.
        """
        if utterance.speaker in map(str, self.exclude_speakers):  # YAML reads numbers as integers
            return SkippedUtterance(utterance.id, "excluded speaker", f"{origin}: speaker {utterance.speaker}")
        seconds = utterance.duration
        rate = len(utterance.text) / seconds
        for value, low, high, unit, below, above in (
            (seconds, "shortest", "longest", "s", "too short", "too long"),
            (rate, "fewest_characters", "most_characters", "characters/s", "too little text", "too much text"),
        ):
            least, most = getattr(self, low), getattr(self, high)
            if value < least:
                detail = f"{origin}: {value:.2f} {unit}, less than corpus.limits.{low}={least}"
                return SkippedUtterance(utterance.id, below, detail)
            if most is not None and value > most:
                detail = f"{origin}: {value:.2f} {unit}, more than corpus.limits.{high}={most}"
                return SkippedUtterance(utterance.id, above, detail)
        return None

    def warn_of_cost(self, name: str, durations: Iterable[float]) -> None:
        """Log the cost of utterances over the default limit, which are there only if `longest` has been raised.

        Args:
            name: name of the part.
            durations: durations of its utterances, in seconds.
        """
        long = [seconds for seconds in durations if seconds > LONGEST]
        if long:
            logger.warning(
                "part %s: corpus.limits.longest is %s; utterances over %g s: %d, up to %.0f s. The time of a training "
                "step grows with the square of the duration, its memory in proportion",
                name, self.longest, LONGEST, len(long), max(long),
            )  # fmt: skip

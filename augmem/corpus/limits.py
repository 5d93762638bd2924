"""Which utterances are fit to learn from."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse import SupervisionSegment

from augmem.corpus.skips import Skip


@dataclass(frozen=True)
class Limits:
    """Utterances outside these limits are left out of the training parts, counted and listed.

    Dev and test parts stay whole, since an error rate over what is left would flatter.

    Args:
        shortest: seconds.
        longest: seconds; null: any length.
        most_characters: characters of the transcript a second of audio, spaces included; more cannot be spoken, so
            that the transcript must be another's. English is read at about 15. null: any number.
        fewest_characters: characters a second; less means that most of the transcript is missing.
    """

    shortest: float = 0.0
    longest: float | None = None
    most_characters: float | None = None
    fewest_characters: float = 0.0

    def __post_init__(self) -> None:
        for low, high in (("shortest", "longest"), ("fewest_characters", "most_characters")):
            least, most = getattr(self, low), getattr(self, high)
            if least < 0 or (most is not None and most <= least):
                raise ValueError(f"limits.{low}={least} and limits.{high}={most}: must be positive, in this order")

    def fault(self, utterance: SupervisionSegment, origin: str) -> Skip | None:
        """Why an utterance is left out; None: it is not."""
        seconds = utterance.duration
        pace = len(utterance.text) / seconds
        for value, low, high, unit, short, long in (
            (seconds, "shortest", "longest", "s", "too short", "too long"),
            (pace, "fewest_characters", "most_characters", "characters a second", "too little text", "too much text"),
        ):
            least, most = getattr(self, low), getattr(self, high)
            if value < least:
                return Skip(utterance.id, short, f"{origin}: {value:.2f} {unit}, less than limits.{low}={least}")
            if most is not None and value > most:
                return Skip(utterance.id, long, f"{origin}: {value:.2f} {unit}, more than limits.{high}={most}")
        return None

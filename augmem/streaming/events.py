"""Results of a stream: words with times and confidences."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Word:
    """A recognised word.

    Args:
        text: the word.
        start: begin in seconds from the start of the stream.
        end: end in seconds from the start of the stream.
        confidence: probability that the word is correct; None in partial results.

    Example:
        >>> word = Word("GOOD", start=0.2, end=0.5, confidence=0.9)
        >>> round(word.end - word.start, 3)
        0.3
    """

    text: str
    start: float
    end: float
    confidence: float | None


@dataclass(frozen=True)
class Event:
    """A partial or final result of one segment.

    Args:
        kind: "partial" (may change) or "final".
        segment: number of the segment in its stream, from 0.
        words: recognised words.
        end: seconds of the stream that have been recognised.
        stable: number of words, from the first one, that will not change; all of a final result. Only a segment that is
            cut at its maximum duration may end before them.

    Example:
        >>> Event("final", 0, (Word("GOOD", 0.2, 0.5, 0.9), Word("DAY", 0.6, 1.0, 0.8)), 1.2, 2).text
        'GOOD DAY'
    """

    kind: Literal["partial", "final"]
    segment: int
    words: tuple[Word, ...]
    end: float
    stable: int = 0

    @property
    def text(self) -> str:
        """The words, separated by spaces."""
        return " ".join(word.text for word in self.words)

    def later(self, seconds: float) -> Event:
        """Return the event with all times later by `seconds`."""
        words = tuple(
            replace(word, start=round(word.start + seconds, 3), end=round(word.end + seconds, 3)) for word in self.words
        )
        return replace(self, words=words, end=round(self.end + seconds, 3))

    def confident(self, confidence: float) -> Event:
        """Return the event without words of a lower confidence; words of partial results have none and stay."""
        kept = [word.confidence is None or word.confidence >= confidence for word in self.words]
        words = tuple(word for word, keep in zip(self.words, kept, strict=True) if keep)
        return replace(self, words=words, stable=sum(kept[: self.stable]))

    @staticmethod
    def from_json(text: str) -> Event:
        """Read what `to_json` returned."""
        values = json.loads(text)
        words = tuple(Word(**word) for word in values["words"])
        return Event(values["kind"], values["segment"], words, values["end"], values["stable"])

    def to_json(self) -> str:
        """Return one line of JSON: text, kind, segment, words, end, stable."""
        return json.dumps({"text": self.text, **asdict(self)}, ensure_ascii=False)

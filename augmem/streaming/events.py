"""What a stream tells: words with their times and confidences, for the time being or for good."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True)
class Word:
    """A word, its time in seconds since the stream began, and the probability that it is right."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Event:
    """What is known of a segment: for the time being ("partial"), or for good ("final").

    Args:
        segment: number of the segment in its stream, from 0.
        end: seconds of the stream that this is about, from its beginning.
    """

    kind: Literal["partial", "final"]
    segment: int
    words: tuple[Word, ...]
    end: float

    @property
    def text(self) -> str:
        """The words, with blanks between."""
        return " ".join(word.text for word in self.words)

    def to_json(self) -> str:
        """One line: kind, segment, text, end and words."""
        return json.dumps({"text": self.text, **asdict(self)}, ensure_ascii=False)

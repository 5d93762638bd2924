"""Reader of the `fortune` program's files: quotations separated by lines of %, each with its source."""

from __future__ import annotations

import re
from collections.abc import Iterator

from augmem.lang.text import normalise_text

_ATTRIBUTION = re.compile(r"\n\s*--[^\n]*(?:\n\s{8,}[^\n]*)*")
_SENTENCE_END = re.compile(r"(?<!\bMr\.)(?<!\bMrs\.)(?<!\bDr\.)(?<=[.!?;:])[\"')\]]*\s+|\s--+\s")


def fortune_sentences(text: str) -> Iterator[str]:
    """Yield the normalised sentences of a file of quotations, without their sources."""
    for quotation in re.split(r"^%\s*$", text, flags=re.MULTILINE):
        yield from split_sentences(_ATTRIBUTION.sub("", quotation))


def split_sentences(paragraph: str) -> Iterator[str]:
    """Split text at marks that end a sentence or clause and normalise the pieces."""
    pieces = _SENTENCE_END.split(" ".join(paragraph.split()))
    return (sentence for sentence in map(normalise_text, pieces) if sentence)

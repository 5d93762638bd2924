"""Colloquial English for language models: the quotations of Debian's `fortunes` package (380,000 words).

The package comes by `apt-get download fortunes` and `dpkg -x`, neither of which needs root. Its
copyright file puts the collection under the BSD licence; nothing of it is committed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from augmem.files import write_text
from augmem.lang.text import normalise_text

COOKIES = Path("usr/share/games/fortunes")
NO_PROSE = frozenset({"ascii-art", "perl", "translate-me"})

_ATTRIBUTION = re.compile(r"\n\s*--[^\n]*(?:\n\s{8,}[^\n]*)*")
_SENTENCE_END = re.compile(r"(?<!\bMr\.)(?<!\bMrs\.)(?<!\bDr\.)(?<=[.!?;:])[\"')\]]*\s+|\s--+\s")


def extract_fortunes(package: Path, output: Path) -> None:
    """Write the quotations of an unpacked package, one normalised sentence a line.

    Raises:
        FileNotFoundError: the folder holds no quotations.
    """
    folder = package / COOKIES
    files = sorted(path for path in folder.glob("*") if _is_cookie_file(path))
    if not files:
        raise FileNotFoundError(f"{folder}: no quotations; try dpkg -x fortunes_*.deb {package}")
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in files)
    write_text(output, "".join(f"{sentence}\n" for text in texts for sentence in fortune_sentences(text)))


def _is_cookie_file(path: Path) -> bool:
    """Indexes end in .dat or .u8; a link would give the same text twice."""
    return path.is_file() and not path.is_symlink() and not path.suffix and path.name not in NO_PROSE


def fortune_sentences(text: str) -> Iterator[str]:
    """Normalised sentences of a cookie file: quotations between lines of %, their sources left out."""
    for quotation in re.split(r"^%\s*$", text, flags=re.MULTILINE):
        yield from sentences(_ATTRIBUTION.sub("", quotation))


def sentences(paragraph: str) -> Iterator[str]:
    """Split prose at the marks that end a sentence or clause, and normalise the pieces."""
    pieces = _SENTENCE_END.split(" ".join(paragraph.split()))
    return (sentence for sentence in map(normalise_text, pieces) if sentence)

"""Which words a recogniser knows: those of its training text, and the most frequent ones of other sources."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path

from augmem.lang.text import normalise_text
from augmem.lang.text_files import lines

log = logging.getLogger(__name__)


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs in normalised texts."""
    return Counter(word for text in texts for word in text.split())


def training_vocabulary(texts: Iterable[str], min_count: int) -> list[str]:
    """Words that occur at least `min_count` times, sorted."""
    return sorted(word for word, count in count_words(texts).items() if count >= min_count)


def extra_vocabulary(files: Sequence[str], size: int, lexicon: Container[str] | None = None) -> list[str]:
    """The `size` most frequent words of all files together; ties in alphabetical order.

    Of running text only words of the lexicon count, if there is one: what is missing from a dictionary of
    126,000 words is more often a misprint than a word. Lists (.tsv) are taken at their word.
    """
    counts: Counter[str] = Counter()
    for name in files if size else ():
        found = word_counts(Path(name))
        trusted = lexicon is None or is_list(Path(name))
        counts.update({word: n for word, n in found.items() if trusted or word in (lexicon or ())})
    return [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:size]]


def word_counts(path: Path) -> Counter[str]:
    """Word frequencies of a text file, or of a .tsv file with word<TAB>count lines."""
    return _read_counts(path) if is_list(path) else count_words(read_text(path))


def is_list(path: Path) -> bool:
    """Lists of words tell themselves from text by their name."""
    return path.name.removesuffix(".gz").removesuffix(".xz").endswith(".tsv")


def _read_counts(path: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    for number, line in enumerate(lines(path), start=1):
        fields = line.split("\t")
        if len(fields) != 2 or not fields[1].strip().isdecimal():
            raise ValueError(f"{path}:{number}: expected word<TAB>count, found {line!r}; mend the line or delete it")
        spoken = normalise_text(fields[0])
        if spoken and " " not in spoken:
            counts[spoken] += int(fields[1])
    return counts


def read_text(path: Path) -> Iterator[str]:
    """Normalised non-empty lines of a text file (plain, gzip or xz)."""
    return (text for text in map(normalise_text, lines(path)) if text)

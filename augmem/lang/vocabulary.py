"""Which words a recogniser knows: those of its training text, and the most frequent ones of other sources."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from augmem.lang.text import normalise_text

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
    return path.name.removesuffix(".gz").endswith(".tsv")


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
    """Normalised non-empty lines of a text file (may be .gz)."""
    return (text for text in map(normalise_text, lines(path)) if text)


def lines(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 file (may be .gz); errors name the file, the line and the remedy."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; name an existing one or take it out of the recipe")
    opener = gzip.open if path.suffix == ".gz" else open
    number = 1
    with explain_damage(path), opener(path, "rt", encoding="utf-8-sig") as stream:
        try:
            for number, line in enumerate(stream, start=1):  # noqa: B007 - told in the error below
                yield line.rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 after line {number}: iconv -f latin1 -t utf-8") from error


@contextmanager
def explain_damage(path: Path) -> Iterator[None]:
    """Have the errors of a gzip file that is cut short, broken or none at all name the file."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: damaged gzip file ({error}); fetch it again") from error

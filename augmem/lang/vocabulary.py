"""The vocabulary: words of the training text, of a given lexicon or language model, and of further sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Sequence, Set
from pathlib import Path

from augmem.errors import UserError
from augmem.lang.normalisation import ENGLISH, Normalisation
from augmem.lang.text_files import lines

_SAME_CASE, _SAME_LANGUAGE, _ENGLISH = 0.5, 0.05, 0.5  # shares of the words in the training transcripts


def check_language_model(path: Path, vocabulary: Set[str], texts: Iterable[str]) -> None:
    """Check that a language model is of the transcripts' language and case.

    Args:
        path: names the model in the message.
        vocabulary: the model's words.
        texts: normalised training transcripts.
    Raises:
        UserError: its words are in another case, or hardly any word of the transcripts is among them.
    """
    counts = count_words(texts)
    known = _share(counts, counts.keys() & vocabulary)
    folded = {word.lower() for word in vocabulary}
    if known < _SAME_CASE <= _share(counts, {word for word in counts if word.lower() in folded}):
        word = next(word for word, _ in counts.most_common() if word not in vocabulary and word.lower() in folded)
        own = next(other for other in sorted(vocabulary) if other.lower() == word.lower())
        option = "--upper-case" if word.isupper() else "--lower-case"
        raise UserError(
            f"language model {path}: its words are in another case than the transcripts ({own}, not {word}); convert "
            f"it: augmem prune-lm {path} {option} --output NEW.arpa.gz, and write NEW.arpa.gz into the recipe"
        )
    if known < _SAME_LANGUAGE:
        raise UserError(
            f"language model {path}: {_few_words(known, counts, vocabulary)}; give a model of the transcripts' language"
        )


def check_lexicon(path: str | None, lexicon: Collection[str], texts: Iterable[str]) -> None:
    """Check that a lexicon is of the transcripts' language and case.

    Args:
        path: names the lexicon in the message; None: it is the CMU dictionary.
        lexicon: its words, in the case of the transcripts unless normalisation keeps the case.
        texts: normalised training transcripts.
    Raises:
        UserError: hardly any word of the transcripts is among them.
    """
    counts = count_words(texts)
    known = _share(counts, counts.keys() & lexicon)
    if counts and known < (_SAME_LANGUAGE if path else _ENGLISH):
        source = f"lexicon {path or '(the CMU dictionary of English)'}"
        raise UserError(
            f"{source}: {_few_words(known, counts, lexicon)}; give a lexicon of the transcripts' language and case "
            "(lang.lexicon), or use letters as units: --lang.units grapheme"
        )


def _share(counts: Counter[str], words: Iterable[str]) -> float:
    """Return the share of some words in all counts."""
    return sum(counts[word] for word in words) / max(1, counts.total())


def _few_words(known: float, counts: Counter[str], vocabulary: Collection[str]) -> str:
    missing = [word[:20] for word, _ in counts.most_common(20) if word not in vocabulary][:6]
    fault = f"it has {known:.1%} of the words in the training transcripts (not {', '.join(missing)}, ...)"
    return f"{fault}, so it is of another language"


def count_words(texts: Iterable[str]) -> Counter[str]:
    """Count the words of normalised texts."""
    return Counter(word for text in texts for word in text.split())


def training_vocabulary(texts: Iterable[str], min_count: int) -> list[str]:
    """Return the words that occur at least `min_count` times, sorted."""
    return sorted(word for word, count in count_words(texts).items() if count >= min_count)


def extra_vocabulary(
    files: Sequence[str], size: int, lexicon: Container[str] | None = None, normalisation: Normalisation = ENGLISH
) -> list[str]:
    """Return the `size` most frequent words of all files together; ties are in alphabetical order.

    If there is a lexicon, only its words are taken from running text: what a dictionary of 126,000 words lacks is more
    often a misprint than a word. Of lists (.tsv), all words are taken.
    """
    counts: Counter[str] = Counter()
    for name in files if size else ():
        found = word_counts(Path(name), normalisation)
        trusted = lexicon is None or is_list(Path(name))
        counts.update({word: n for word, n in found.items() if trusted or word in (lexicon or ())})
    return [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:size]]


def word_counts(path: Path, normalisation: Normalisation = ENGLISH) -> Counter[str]:
    """Count the words of a text file, or read the counts of a .tsv file with word<TAB>count lines."""
    return _read_counts(path, normalisation) if is_list(path) else count_words(read_text(path, normalisation))


def is_list(path: Path) -> bool:
    """Return whether a file is a list of words: its name ends in .tsv."""
    return path.name.removesuffix(".gz").removesuffix(".xz").endswith(".tsv")


def _read_counts(path: Path, normalisation: Normalisation) -> Counter[str]:
    counts: Counter[str] = Counter()
    for number, line in enumerate(lines(path), start=1):
        fields = line.split("\t")
        if len(fields) != 2 or not fields[1].strip(" \r").isdecimal():
            raise UserError(f"{path}:{number}: expected word<TAB>count, found {line!r}; fix or delete the line")
        spoken = normalisation(fields[0])
        if spoken and " " not in spoken:
            counts[spoken] += int(fields[1].strip(" \r"))
    return counts


def read_text(path: Path, normalisation: Normalisation = ENGLISH) -> Iterator[str]:
    """Yield the normalised non-empty lines of a text file (plain, gzip or xz)."""
    return (text for text in map(normalisation, lines(path)) if text)

"""Pronouncing dictionaries: reading them, writing them, and telling homophones apart."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from augmem.lang.text_files import lines

logger = logging.getLogger(__name__)

Pronunciation = tuple[str, ...]
Lexicon = dict[str, list[Pronunciation]]
Entry = tuple[str, Pronunciation]

SILENCE, SPOKEN_NOISE = "SIL", "SPN"
SILENCE_WORD, NOISE_WORD, OOV_WORD = "!SIL", "<SPOKEN_NOISE>", "<UNK>"
SPECIAL_ENTRIES: tuple[Entry, ...] = (
    (SILENCE_WORD, (SILENCE,)),
    (NOISE_WORD, (SPOKEN_NOISE,)),
    (OOV_WORD, (SPOKEN_NOISE,)),
)
SPECIAL_WORDS = frozenset(word for word, _ in SPECIAL_ENTRIES)
RESERVED = frozenset({"<eps>", "<blk>", "<s>", "</s>"})
DISAMBIGUATION = re.compile(r"#\d+")

_VARIANT = re.compile(r"\(\d+\)$")
_SPELLABLE = re.compile(r"[A-Z']+")
_STRESS = re.compile(r"(?<=[A-Z])[012]$")


@cache
def load_cmudict() -> Lexicon:
    """The CMU pronouncing dictionary (126,000 words, 39 phones, BSD licence) from the pocketsphinx wheel.

    Read once, shared by all callers: not to be changed.
    """
    spec = find_spec("pocketsphinx")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "the CMU dictionary is in the Python package pocketsphinx, which is not installed: "
            "pip install pocketsphinx, or name a lexicon file"
        )
    return read_lexicon(Path(spec.origin).parent / "model" / "en-us" / "cmudict-en-us.dict")


def read_lexicon(path: Path) -> Lexicon:
    """Read "WORD P1 P2 ..." lines; further pronunciations repeat the word, or number it as WORD(2).

    Words are upper-cased and stress digits stripped. Lines starting with ;;; are comments. Entries of the
    special words (!SIL, <SPOKEN_NOISE>, <UNK>) are passed over: every lang folder has its own.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is at fault; the message names file, line, fault and remedy.
    """
    if not path.is_file():
        raise FileNotFoundError(f"lexicon {path}: no such file; give the path of a WORD P1 P2 ... file")
    lexicon: Lexicon = {}
    unspellable: list[str] = []
    for number, line in enumerate(lines(path), start=1):
        fields = line.split()
        if not fields or fields[0].startswith(";;;") or fields[0].upper() in SPECIAL_WORDS:
            continue
        word, phones = _entry(fields, f"lexicon {path}:{number}")
        if not is_normalised_word(word):
            unspellable.append(word)
        elif phones not in lexicon.setdefault(word, []):
            lexicon[word].append(phones)
    _check_read(path, lexicon, unspellable)
    return lexicon


def _entry(fields: Sequence[str], where: str) -> Entry:
    word = _VARIANT.sub("", fields[0]).upper()
    if len(fields) < 2:
        raise ValueError(f"{where}: {fields[0]} has no pronunciation; write its phones behind it or delete the line")
    phones = tuple(_STRESS.sub("", phone) for phone in fields[1:])
    for symbol in (word, *phones):
        if symbol in RESERVED or DISAMBIGUATION.fullmatch(symbol):
            raise ValueError(f"{where}: {symbol} is a reserved symbol; give that word or phone another name")
    return word, phones


def _check_read(path: Path, lexicon: Lexicon, unspellable: list[str]) -> None:
    if not lexicon:
        raise ValueError(f"lexicon {path}: no usable entry; write one WORD P1 P2 ... on each line")
    if unspellable:
        examples = ", ".join(unspellable[:3])
        logger.info("%s: %d entries can't occur in normalised text (%s, ...)", path.name, len(unspellable), examples)


def is_normalised_word(word: str) -> bool:
    """Return whether a word can occur in normalised text."""
    return _SPELLABLE.fullmatch(word) is not None


def phones_of(lexicon: Mapping[str, Iterable[Pronunciation]]) -> list[str]:
    """All phones used, sorted."""
    return sorted({phone for forms in lexicon.values() for form in forms for phone in form})


def letters_of(word: str) -> Pronunciation:
    """A word's letters with their place in it, in Kaldi's marks: B_B, E_I, D_E; a single one is I_S."""
    if len(word) == 1:
        return (f"{word}_S",)
    return (f"{word[0]}_B", *(f"{letter}_I" for letter in word[1:-1]), f"{word[-1]}_E")


def format_lexicon(entries: Iterable[Entry]) -> str:
    """One "WORD P1 P2 ..." line for each entry."""
    return "".join(f"{word} {' '.join(phones)}\n" for word, phones in entries)


def add_disambiguation(entries: Sequence[Entry]) -> tuple[list[Entry], int]:
    """Make all pronunciations distinct and none a prefix of another, by appending #1, #2, ... where needed.

    Without this L o G could not be determinised: homophones, and words that begin longer words, would leave
    it undecided for ever which word was said. Follows Kaldi's and icefall's convention; #0 is left for G.

    Returns:
        the entries in the same order, and the highest number used (0 if none).
    """
    shared = Counter(phones for _, phones in entries)
    prefixes = {phones[:length] for phones in shared for length in range(1, len(phones))}
    used: Counter[Pronunciation] = Counter()
    distinct: list[Entry] = []
    for word, phones in entries:
        if shared[phones] == 1 and phones not in prefixes:
            distinct.append((word, phones))
            continue
        used[phones] += 1
        distinct.append((word, (*phones, f"#{used[phones]}")))
    return distinct, max(used.values(), default=0)

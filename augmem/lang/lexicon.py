"""Lexicons: reading, writing, disambiguation symbols."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import dropwhile
from pathlib import Path

from augmem.errors import UserError
from augmem.lang.normalisation import ENGLISH, Normalisation
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
RESERVED_WORDS = RESERVED | SPECIAL_WORDS | {"<unk>"}  # of a text: marks, not words
DISAMBIGUATION = re.compile(r"#\d+")

_VARIANT = re.compile(r"\(\d+\)$")
_STRESSED = re.compile(r"(A[AEHOWY]|E[HRY]|I[HY]|O[WY]|U[HW])[012]")  # vowels of ARPAbet
_TONE = re.compile(r"[^\W\d_]+[3-9]")
_PROBABILITY = re.compile(r"\d*\.\d+(e[+-]?\d+)?|\d+\.|\d+e[+-]?\d+|[01]", re.IGNORECASE)
_NUMBER = re.compile(r"\d*\.\d+|\d+\.|\d\d+|\d+(\.\d*)?e[+-]?\d+", re.IGNORECASE)  # 2, 6 and 9 are phones of X-SAMPA
_FEW_SKIPPED = 0.1  # share of the entries; dictionaries have some with digits or full stops
_COMMENT = re.compile(r"^(;;;|#(?!\d)).*|\s#(?!\d+(\s|$)).*")


@cache
def load_cmudict() -> Lexicon:
    """Read the CMU Pronouncing Dictionary (126,000 words, 39 phones, BSD licence) from the pocketsphinx package.

    All callers share one object and must not change it.

    Raises:
        FileNotFoundError: the installed pocketsphinx has no dictionary.
    """
    spec = find_spec("pocketsphinx")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "the CMU dictionary is part of the Python package pocketsphinx, which is not installed: "
            "pip install pocketsphinx, or give a lexicon file as lang.lexicon"
        )
    return read_lexicon(Path(spec.origin).parent / "model" / "en-us" / "cmudict-en-us.dict")


def read_lexicon(path: Path, normalisation: Normalisation = ENGLISH) -> Lexicon:
    """Read "WORD P1 P2 ..." lines (plain, gzip or xz); further pronunciations repeat the word, or number it as WORD(2).

    Words get the case of normalised text, and ARPAbet vowels lose their stress. Comments are removed: lines that start
    with ;;; or #, and text after " #". Probabilities between word and phones (lexiconp.txt of Kaldi, dictionaries of
    the Montreal Forced Aligner) are ignored. Entries of the special words (!SIL, <SPOKEN_NOISE>, <UNK>) are skipped:
    every lang folder has its own.

    Raises:
        FileNotFoundError: no such file.
        UserError: a fault; the message names the file, the line and the remedy.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     size = (Path(folder) / "lexicon.txt").write_text("CAT K AE1 T\\nA AH0\\nA EY1\\n")
        ...     lexicon = read_lexicon(Path(folder) / "lexicon.txt")
        >>> lexicon["A"]
        [('AH',), ('EY',)]
    """
    if not path.is_file():
        raise FileNotFoundError(f"lexicon {path}: no such file; give the path of a WORD P1 P2 ... file")
    lexicon: Lexicon = {}
    spellings: dict[str, str] = {}
    skipped: list[str] = []
    probabilities = 0
    for number, line in enumerate(lines(path), start=1):
        fields = _COMMENT.sub("", line).split()
        if not fields or fields[0].upper() in SPECIAL_WORDS:
            continue
        where = f"lexicon {path}:{number}"
        word, phones = _entry(fields, where, normalisation)
        probabilities += len(phones) < len(fields) - 1
        _check_case(map(strip_stress, phones), spellings, where)
        if not normalisation.is_word(word):
            skipped.append(word)
        else:
            lexicon.setdefault(word, []).append(phones)
    _check_read(path, lexicon, skipped, probabilities)
    return _unique(lexicon)


@cache
def strip_stress(phone: str) -> str:
    """Remove the stress of an ARPAbet vowel: AH0 -> AH."""
    return phone[:-1] if _STRESSED.fullmatch(phone.upper()) else phone


def _unique(lexicon: Lexicon) -> Lexicon:
    """Strip stress, unless the digits are tones, and remove repeated pronunciations."""
    strip = str if any(map(_TONE.fullmatch, collect_phones(lexicon))) else strip_stress
    return {
        word: list(dict.fromkeys(tuple(strip(phone) for phone in phones) for phones in forms))
        for word, forms in lexicon.items()
    }


def _entry(fields: Sequence[str], where: str, normalisation: Normalisation) -> Entry:
    word = normalisation.change_case(_VARIANT.sub("", fields[0]))
    phones = tuple(dropwhile(_PROBABILITY.fullmatch, fields[1:]))
    if not phones:
        raise UserError(f"{where}: {fields[0]} has no pronunciation; write its phones after it or delete the line")
    if number := next(filter(_NUMBER.fullmatch, phones), None):
        raise UserError(f"{where}: phone {number} is a number; write WORD P1 P2 ..., probabilities before the phones")
    for symbol in (word, *phones):
        if symbol in RESERVED or DISAMBIGUATION.fullmatch(symbol):
            raise UserError(f"{where}: {symbol} is a reserved symbol; give that word or phone another name")
    return word, phones


def _check_case(phones: Iterable[str], spellings: dict[str, str], where: str) -> None:
    """Check that no phone occurs as both HH and hh. In X-SAMPA, s and S differ, and so do ts and tS."""
    for phone in phones:
        if len(phone) > 1 and (phone.isupper() or phone.islower()):
            other = spellings.setdefault(phone.upper(), phone)
            if other != phone:
                raise UserError(f"{where}: phone {phone} is {other} in lines above; write each phone in one case")


def _check_read(path: Path, lexicon: Lexicon, skipped: Sequence[str], probabilities: int) -> None:
    entries = len(skipped) + sum(map(len, lexicon.values()))
    if skipped and not lexicon:
        raise UserError(
            f"lexicon {path}: no word of it can occur in normalised text ({', '.join(skipped[:3])}); for languages "
            "other than English: --corpus.normalisation unicode"
        )
    if not lexicon:
        raise UserError(f"lexicon {path}: no usable entry; write one WORD P1 P2 ... on each line")
    if probabilities:
        logger.info("%s: probabilities of %d entries are ignored", path.name, probabilities)
    if skipped:
        examples = ", ".join(skipped[:3])
        text = "%s: %d of %d entries are left out: their words cannot occur in normalised text (%s, ...)"
        level = logging.WARNING if len(skipped) > _FEW_SKIPPED * entries else logging.INFO
        logger.log(level, text, path.name, len(skipped), entries, examples)


def collect_phones(lexicon: Mapping[str, Iterable[Pronunciation]]) -> list[str]:
    """Return all phones of a lexicon, sorted."""
    return sorted({phone for forms in lexicon.values() for form in forms for phone in form})


def split_letters(word: str) -> Pronunciation:
    """Return the letters of a word with Kaldi's position marks: B_B, E_I, D_E; I_S for a single letter.

    Example:
        >>> split_letters("BED")
        ('B_B', 'E_I', 'D_E')
    """
    if len(word) == 1:
        return (f"{word}_S",)
    return (f"{word[0]}_B", *(f"{letter}_I" for letter in word[1:-1]), f"{word[-1]}_E")


def format_lexicon(entries: Iterable[Entry]) -> str:
    """Return one "WORD P1 P2 ..." line for each entry."""
    return "".join(f"{word} {' '.join(phones)}\n" for word, phones in entries)


def add_disambiguation(entries: Sequence[Entry]) -> tuple[list[Entry], int]:
    """Make all pronunciations distinct and none a prefix of another by appending #1, #2, ... where needed.

    Without these symbols L o G cannot be determinised if there are homophones or words that begin longer words. The
    convention is Kaldi's and icefall's; #0 is left for G.

    Returns:
        the entries in the same order, and the highest number used (0 if none).

    Example:
        >>> add_disambiguation([("TO", ("T", "UW")), ("TWO", ("T", "UW"))])
        ([('TO', ('T', 'UW', '#1')), ('TWO', ('T', 'UW', '#2'))], 2)
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

"""Normalisation of written English: the words as spoken, in upper case."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from augmem.lang.english_numbers import ambiguous_numbers, read_numbers
from augmem.lang.quotes import remove_english_quotes

ENGLISH_RULES = (  # described for readers of scores
    "upper case, A to Z and apostrophes alone; numbers, money, fractions, times, % and & read out; Mr, Mrs, Dr, vs and "
    "Jr expanded; accents removed; text in <>, (), [] or {} removed, except ((words)) and [laughter-words]; all other "
    "marks are spaces"
)
Losses = Counter[tuple[str, str]]  # (kind, piece of text) -> how often
LETTERS, SYMBOLS, NUMBERS, BRACKETS = "letters", "symbols", "ambiguous numbers", "passages in brackets"

APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u201b\u02bc`\u00b4", "'"))
_LETTERS = str.maketrans({
    "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D",
})  # fmt: skip
_ABBREVIATIONS = {"MR": "MISTER", "MRS": "MISSUS", "DR": "DOCTOR", "VS": "VERSUS", "JR": "JUNIOR"}

_NORMALISED = re.compile(r"[A-Z' ]*")
_SPOKEN_IN_BRACKETS = re.compile(r"\(\(([^()]*)\)\)|\[laughter-([^\[\]]*)\]", re.IGNORECASE)
_NOT_SPOKEN = re.compile(r"<[^<>]*>|\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}")
_GROUPED = re.compile(r"(?<!\d)\d{1,3}(?:[\u00a0\u2009\u202f]\d{3})+(?!\d)")
_SPOKEN_MARKS = frozenset("@#%*/=+&")


def normalise_text(text: str) -> str:
    """Convert one line of written English to spoken words: upper case, A-Z and ', single spaces.

    Text in <>, (), [] or {} is removed, numbers are read out, accents removed, abbreviations such as Mr expanded; all
    other marks are word boundaries. Normalised text, such as LibriSpeech transcripts, is not changed.

    Example:
        >>> normalise_text("Mr. Smith paid $5.50 [laughs]")
        'MISTER SMITH PAID FIVE DOLLARS FIFTY CENTS'
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", _read(text)) if not unicodedata.combining(c))
    words = re.sub(r"[^A-Z']", " ", plain.translate(_LETTERS).upper()).split()
    tidied = (_tidy_apostrophes(word) for word in words)
    return " ".join(_ABBREVIATIONS.get(word, word) for word in tidied if word)


def english_losses(text: str) -> Losses:
    """Count what `normalise_text` drops, changes or may read wrongly: letters, symbols, numbers and text in brackets.

    Example:
        >>> sorted(english_losses("7/10 M\u00fcller [laughs]"))
        [('ambiguous numbers', '7/10'), ('letters', '\u00fc'), ('passages in brackets', '[laughs]'), ('symbols', '/')]
    """
    if _NORMALISED.fullmatch(text):
        return Counter()
    written = drop_unspoken(_unify(text))
    losses = Counter((BRACKETS, passage) for passage in unspoken_passages(_unify(text)))
    losses.update((NUMBERS, number) for number in ambiguous_numbers(written))
    losses.update(
        (kind, c) for c in _read(text) if (kind := classify_character(c)) and not (c.isascii() and c.isalpha())
    )
    return losses


def classify_character(character: str) -> str:
    """Return LETTERS or SYMBOLS for a character that is spoken; an empty string for a mark that is not."""
    category = unicodedata.category(character)
    if category[0] in "LN":
        return LETTERS
    return SYMBOLS if character in _SPOKEN_MARKS or category in ("Sc", "Sm", "So") else ""


def drop_unspoken(text: str) -> str:
    """Remove text in brackets, innermost first; keep words in ((...)), which are uncertain, and in [laughter-...]."""
    text = _SPOKEN_IN_BRACKETS.sub(lambda match: f" {match[1] or match[2] or ''} ", text)
    found = 1
    while found:
        text, found = _NOT_SPOKEN.subn(" ", text)
    return text


def unspoken_passages(text: str) -> list[str]:
    """Return the passages that `drop_unspoken` removes, without those around others."""
    return _NOT_SPOKEN.findall(_SPOKEN_IN_BRACKETS.sub(" ", text))


def _read(text: str) -> str:
    """Return text with numbers and symbols in words, without quotation marks and text in brackets."""
    if _NORMALISED.fullmatch(text):
        return text
    text = read_numbers(remove_english_quotes(drop_unspoken(_unify(text))))
    return re.sub(r"(?<=[\w\s])&(?=[\w\s])", " and ", text)


def _unify(text: str) -> str:
    """Return text in NFKC with ASCII apostrophes, a blank before fractions and commas between groups of digits."""
    text = _GROUPED.sub(lambda match: re.sub(r"\D", ",", match[0]), text.translate(APOSTROPHES))
    text = re.sub(r"(?<=\d)(?=[\u00bc-\u00be\u2150-\u215e\u2189])", " ", text)
    return re.sub("''+", '"', unicodedata.normalize("NFKC", text).translate(APOSTROPHES))


def _tidy_apostrophes(word: str) -> str:
    """Remove quotation marks around a word; keep the apostrophes of 'EM, DON'T, BOYS' and JUMPIN'."""
    word = re.sub(r"'+", "'", word)
    return word.strip("'") if len(word) < 2 or (word[0] == "'" and word[-1] == "'") else word

"""Text normalisation, shared by training text, dev text and references: written English to spoken words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from num2words import num2words

NORMALISATION = (  # described for readers of scores
    "upper case, A to Z and apostrophes alone; numbers, money, times, % and & read out; Mr, Mrs, Dr, vs and Jr "
    "expanded; accents removed; text in <>, (), [] or {} removed; all other marks are spaces"
)

_LETTERS = str.maketrans({
    "\u2018": "'", "\u2019": "'", "\u201b": "'", "\u02bc": "'", "`": "'", "\u00b4": "'",
    "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D",
})  # fmt: skip
_ABBREVIATIONS = {"MR": "MISTER", "MRS": "MISSUS", "DR": "DOCTOR", "VS": "VERSUS", "JR": "JUNIOR"}
_CURRENCIES = {"$": "dollar", "£": "pound", "€": "euro"}
_LONGEST_NUMBER = 15  # digits; longer ones are codes, read digit by digit

_NOT_SPOKEN = re.compile(r"<[^<>]*>|\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}")
_MONEY = re.compile(r"([$£€])\s?(\d[\d,]*(?:\.\d+)?)")
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?!\d)")
_CLOCK = re.compile(r"(?<![\d:])(\d{1,2}):([0-5]\d)(?![\d:])(\s+hours)?", re.IGNORECASE)
_DECADE = re.compile(r"(?<!\d)(\d+)'?s(?![a-z])", re.IGNORECASE)
_ORDINAL = re.compile(r"(?<![\d.])(\d+)(?:st|nd|rd|th)(?![a-z])", re.IGNORECASE)
_DECIMAL = re.compile(r"(?<![\d.])(\d+)\.(\d+)(?![\d.])")
_INTEGER = re.compile(r"\d+")


def normalise_text(text: str) -> str:
    """Convert one line of written English to spoken words: upper case, A-Z and ', single spaces.

    Text in <>, (), [] or {} is removed, numbers are read out, accents removed, abbreviations such as Mr expanded; all
    other marks are word boundaries. Normalised text, such as LibriSpeech transcripts, is not changed.

    Example:
        >>> normalise_text("Mr. Smith paid $5.50 [laughs]")
        'MISTER SMITH PAID FIVE DOLLARS FIFTY'
    """
    text = unicodedata.normalize("NFKC", text.translate(_LETTERS)).translate(_LETTERS)
    text = _read_numbers(_read_symbols(_drop_unspoken(text)))
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    words = re.sub(r"[^A-Z']", " ", plain.upper()).split()
    tidied = (_tidy_apostrophes(word) for word in words)
    return " ".join(_ABBREVIATIONS.get(word, word) for word in tidied if word)


def _drop_unspoken(text: str) -> str:
    """Remove text in brackets, innermost first, so that nested brackets are removed too."""
    found = 1
    while found:
        text, found = _NOT_SPOKEN.subn(" ", text)
    return text


def _tidy_apostrophes(word: str) -> str:
    """Remove quotation marks around a word; keep the apostrophes of 'EM, DON'T, BOYS' and JUMPIN'."""
    word = re.sub(r"'+", "'", word)
    return word.strip("'") if len(word) < 2 or (word[0] == "'" and word[-1] == "'") else word


def _read_symbols(text: str) -> str:
    """Convert $5, 50 % and & to words."""
    text = _MONEY.sub(_money, text)
    text = re.sub(r"(?<=\d)\s?%", " percent ", text)
    return re.sub(r"(?<=[\w\s])&(?=[\w\s])", " and ", text)


def _money(match: re.Match[str]) -> str:
    """$1 -> 1 dollar; $5.50 -> 5 dollars 50."""
    whole, _, hundredths = match[2].partition(".")
    unit = _CURRENCIES[match[1]] + ("" if whole == "1" else "s")
    return f"{whole} {unit} {hundredths.strip('0') and hundredths.lstrip('0')} "


def _read_numbers(text: str) -> str:
    """Convert clock times, decades, ordinals, decimals and integers to words, in this order."""
    text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    readers: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
        (_CLOCK, _clock),
        (_DECADE, lambda match: _plural(_cardinal(match[1]))),
        (_ORDINAL, lambda match: _ordinal(match[1])),
        (_DECIMAL, lambda match: f"{_cardinal(match[1])} point {_digits(match[2])}"),
        (_INTEGER, lambda match: _cardinal(match[0])),
    )
    for pattern, read in readers:
        text = pattern.sub(lambda match, read=read: f" {read(match)} ", text)  # type: ignore[misc]
    return text


def _clock(match: re.Match[str]) -> str:
    """19:00 hours -> nineteen hundred hours; 7:00 -> seven o'clock; 7:05 -> seven oh five."""
    hour, minute = _cardinal(str(int(match[1]))), int(match[2])
    if match[3]:
        return f"{hour} {'hundred' if minute == 0 else _cardinal(str(minute))} hours"
    if minute == 0:
        return f"{hour} o'clock"
    return f"{hour} {'oh ' if minute < 10 else ''}{_cardinal(str(minute))}"


def _cardinal(digits: str) -> str:
    """Read years as years (1844: eighteen forty-four), codes (007) digit by digit, all else as cardinals."""
    if len(digits) > _LONGEST_NUMBER or (len(digits) > 1 and digits[0] == "0"):
        return _digits(digits)
    number = int(digits)
    is_year = len(digits) == 4 and (1100 <= number < 2000 or 2010 <= number < 2100)
    return num2words(number, to="year" if is_year else "cardinal")


def _ordinal(digits: str) -> str:
    return num2words(int(digits), to="ordinal") if len(digits) <= _LONGEST_NUMBER else _digits(digits)


def _digits(digits: str) -> str:
    return " ".join(num2words(int(digit)) for digit in digits)


def _plural(words: str) -> str:
    """Forty -> forties, six -> sixes, hundred -> hundreds."""
    if words.endswith("y"):
        return words[:-1] + "ies"
    return words + ("es" if words.endswith("x") else "s")

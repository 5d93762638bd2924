"""The choice of text normalisation: English, other languages, or none."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from num2words import CONVERTER_CLASSES, num2words

from augmem.errors import UserError, check_option
from augmem.files import read_json, write_json
from augmem.lang.quotes import remove_paired_quotes
from augmem.lang.text import (
    APOSTROPHES,
    BRACKETS,
    ENGLISH_RULES,
    NUMBERS,
    Losses,
    classify_character,
    drop_unspoken,
    english_losses,
    normalise_text,
    unspoken_passages,
)

NORMALISATION_FILE = "normalisation.json"  # in a lang folder, unless it is English

_SPELLABLE = re.compile(r"[A-Z']+")
_LANGUAGE = re.compile(r"[a-z]{2,3}(_[A-Z]{2})?")
_POINT_LANGUAGES = frozenset({"en", "he", "ja", "ko", "th", "zh"})  # decimal point; others have a comma
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_MAX_DIGITS = 20  # digits and point
_JOINERS = "\u200c\u200d"
_RULES = {
    "english": ENGLISH_RULES,
    "unicode": "Unicode NFC, lower case; letters, digits and apostrophes inside words kept; text in <>, (), [] or {} "
    "removed; all other marks are spaces",
    "none": "none; words are separated by white space",
}


@dataclass(frozen=True)
class Normalisation:
    """Rules that make words of written text; one for all text of an experiment.

    Args:
        form: "english": upper case A-Z and apostrophes, numbers and symbols in words; "unicode", for any language: NFC,
            lower case and no punctuation; "none": the text as it is, split at white space.
        language: language code such as de; with "unicode", numbers are written in words where num2words has the
            language, and left as digits elsewhere. null: digits are left.

    Example:
        >>> Normalisation("unicode", "de")("Das kostet 25 Euro, über 3,5 Kilo.")
        'das kostet fünfundzwanzig euro über drei komma fünf kilo'
    """

    form: Literal["english", "unicode", "none"] = "english"
    language: str | None = None

    def __post_init__(self) -> None:
        check_option("corpus.normalisation", self.form, self.form in _RULES, f"be one of {', '.join(_RULES)}")
        valid = not self.language or bool(_LANGUAGE.fullmatch(self.language))
        check_option("corpus.language", self.language, valid, "be a code such as de or pt_BR")
        if self.form == "english" and self.language and self.language[:2] != "en":
            raise UserError(
                f"corpus.normalisation is 'english', corpus.language is {self.language!r}: "
                "use --corpus.normalisation unicode for other languages"
            )

    def __call__(self, text: str) -> str:
        """Return the words of a line of text, separated by single blanks."""
        return _FORMS[self.form](text, self)

    @property
    def description(self) -> str:
        """The rules, for readers of scores."""
        numbers = f"; numbers in words of {self.language}" if self.form == "unicode" and self.reads_numbers else ""
        return _RULES[self.form] + numbers

    @property
    def reads_numbers(self) -> bool:
        """Whether numbers are written in words."""
        return self.form == "english" or (self.language is not None and _has_numbers(self.language))

    def change_case(self, word: str) -> str:
        """Return a word of a lexicon or language model in the case of normalised text."""
        if self.form == "english":
            return word.upper()
        return word if self.form == "none" else _lower(word)

    def is_word(self, word: str) -> bool:
        """Return whether a word can occur in normalised text."""
        if self.form == "english":
            return _SPELLABLE.fullmatch(word) is not None
        return self(word) == word != ""

    def losses(self, text: str) -> Losses:
        """Count what is dropped, changed or may be read wrongly, by kind."""
        if self.form == "none":
            return Counter()
        return english_losses(text) if self.form == "english" else self._unicode_losses(text)

    def _unicode_losses(self, text: str) -> Losses:
        read = _read_numbers(drop_unspoken(text), self)
        losses = Counter((BRACKETS, passage) for passage in unspoken_passages(text))
        losses.update(("numbers in digits", number) for number in _NUMBER.findall(read))
        if self.reads_numbers:
            numbers = _NUMBER.findall(drop_unspoken(text))
            losses.update((NUMBERS, number) for number in numbers if _plain(number, self.language or "") is None)
        losses.update((kind, c) for c in read if (kind := classify_character(c)) and not _is_kept(c))
        return losses

    def save(self, folder: Path) -> None:
        """Write the rules into a lang folder; English ones need no file."""
        if self != ENGLISH:
            write_json(folder / NORMALISATION_FILE, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> Normalisation:
        """Read the rules of a lang folder.

        Raises:
            UserError: the file was not written by `save`.
        """
        path = folder / NORMALISATION_FILE
        if not path.is_file():
            return ENGLISH
        try:
            return cls(**read_json(path))
        except TypeError as error:
            raise UserError(f"{path}: expected form and language; run the lang stage again") from error


ENGLISH = Normalisation()


def format_losses(losses: Losses) -> str:
    """Format counts by kind with the most frequent pieces.

    Example:
        >>> format_losses(Counter({("letters", "ü"): 7, ("letters", "ß"): 2}))
        '9 letters (ü 7, ß 2)'
    """
    parts = []
    for kind in dict.fromkeys(kind for kind, _ in losses):
        pieces = Counter({piece: count for (found, piece), count in losses.items() if found == kind})
        more = ", ..." if len(pieces) > 5 else ""
        examples = ", ".join(f"{piece[:30]} {count}" for piece, count in pieces.most_common(5))
        parts.append(f"{sum(pieces.values())} {kind} ({examples}{more})")
    return "; ".join(parts)


def _unicode(text: str, rules: Normalisation) -> str:
    text = _lower(_read_numbers(drop_unspoken(text.translate(APOSTROPHES)), rules))
    kept = "".join(character if _is_kept(character) else _space(character) for character in remove_paired_quotes(text))
    words = (re.sub("'+", "'", word).strip(_JOINERS) for word in kept.split())
    return " ".join(word for word in words if word.strip("'" + _JOINERS))


def _lower(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


def _is_kept(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN" or character == "'" or character in _JOINERS


def _space(character: str) -> str:
    """Return the replacement of a mark: nothing for invisible format characters such as soft hyphens, else a blank."""
    return "" if unicodedata.category(character) == "Cf" and character != "\u200b" else " "


def _read_numbers(text: str, rules: Normalisation) -> str:
    if not rules.reads_numbers:
        return text
    return _NUMBER.sub(lambda match: _number(match[0], rules.language or ""), text)


def _number(written: str, language: str) -> str:
    """Return a number in words; otherwise its parts in words, and unchanged what num2words cannot read."""
    words = _number_words(_plain(written, language), language)
    if words is None and not written.isdigit():
        return re.sub(r"\d+", lambda match: _number(match[0], language), written)
    return written if words is None else f" {words} "


def _number_words(plain: str | None, language: str) -> str | None:
    if plain is None or len(plain) > _MAX_DIGITS or (plain[0] == "0" and plain[1:2].isdigit()):
        return None
    try:
        return str(num2words(plain if "." in plain else int(plain), lang=language))
    except (ArithmeticError, LookupError, NotImplementedError, TypeError, ValueError):
        return None


def _plain(written: str, language: str) -> str | None:
    """Return a number with a decimal point and without marks between thousands; None if it is ambiguous."""
    point, comma = (".", ",") if language[:2] in _POINT_LANGUAGES else (",", ".")
    plain = re.sub(rf"(?<=\d){re.escape(comma)}(?=\d{{3}}(?:\D|$))", "", written).replace(point, ".")
    return plain if re.fullmatch(r"\d+(\.\d+)?", plain) else None


def _has_numbers(language: str) -> bool:
    return language in CONVERTER_CLASSES or language[:2] in CONVERTER_CLASSES


_FORMS: dict[str, Callable[[str, Normalisation], str]] = {
    "english": lambda text, _: normalise_text(text),
    "unicode": _unicode,
    "none": lambda text, _: " ".join(text.split()),
}

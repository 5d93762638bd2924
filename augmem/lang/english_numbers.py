"""Numbers, money, fractions and clock times of written English as words."""

from __future__ import annotations

import re
from collections.abc import Callable

from num2words import num2words

_CURRENCIES = {  # of one, of several, hundredths of one, of several
    "$": ("dollar", "dollars", "cent", "cents"), "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"), "¥": ("yen", "yen", "sen", "sen"),
    "¢": ("cent", "cents", "", ""),
}  # fmt: skip
_SCALES = {"k": "thousand", "m": "million", "bn": "billion"}
_CLEAR_DENOMINATORS = frozenset({2, 3, 4, 5, 8, 16})  # of a/b; 9/11 and 24/7 are no fractions
_MAX_DIGITS = 15  # digits; longer ones are codes, read digit by digit

_AMOUNT = r"(\d[\d,]*(?:\.\d+)?|\.\d+)(?:\s?(hundred|thousand|million|billion|trillion)\b|(k|m|bn)\b)?"
_MONEY = re.compile(rf"([$£€¥])\s?{_AMOUNT}", re.IGNORECASE)
_MONEY_BEHIND = re.compile(rf"(?<![\d.,]){_AMOUNT}\s?([$£€¥¢])(?!\d)", re.IGNORECASE)
_PERCENT = re.compile(r"(?<=\d)\s?%")
_COUNTED = re.compile(r"(?<![\d.,])(\d+)(?=\s+(?:percent|dollars?|pounds?|euros?|cents?|pence)\b)", re.IGNORECASE)
_MINUS = re.compile(r"(?<![\w.,)])(?<!\d\s)[-\u2212](?=[$£€¥]?\.?\d)")
_FRACTION = re.compile(r"(?<![\d/\u2044.,])(?:(\d{1,15})\s+)?(\d{1,3})([/\u2044])(\d{1,3})(?![\d/\u2044]|\.\d)")
_CLOCK = re.compile(r"(?<![\d:])(\d{1,2}):([0-5]\d)(?![\d:])(\s+hours)?", re.IGNORECASE)
_DECADE = re.compile(r"(?<!\d)(\d[\d,]*)'?s(?![a-z])", re.IGNORECASE)
_ORDINAL = re.compile(r"(?<![\d.])(\d[\d,]*)(?:st|nd|rd|th)(?![a-z])", re.IGNORECASE)
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d|[.,]\d)")
_DECIMAL = re.compile(r"(?<![\d.])\d+\.\d+(?!\d|\.\d)|(?<![\w.])\.\d+(?!\d|\.\d)")
_INTEGER = re.compile(r"\d+")
_AMBIGUOUS = re.compile(r"\d+(?:\.\d+){2,}|\d+(?:,\d+)+(?:\.\d+)?|\d+/\d+(?:/\d+)*")


def read_numbers(text: str) -> str:
    """Convert numbers with their signs and currencies to words; years (1844) are read as years.

    Args:
        text: text in NFKC, so that a fraction such as ½ is 1⁄2, with the fraction slash.

    Example:
        >>> " ".join(read_numbers("$5.5 million, 3 1/2 cups, -5").split())
        'five point five million dollars , three and a half cups, minus five'
    """
    if not re.search(r"\d", text):
        return text
    for pattern, read in _READERS:
        text = pattern.sub(lambda match, read=read: f" {read(match)} ", text)  # type: ignore[misc]
    return text


def ambiguous_numbers(text: str) -> list[str]:
    """Return numbers with several readings, such as 1.000.000, 3,5 and 7/10.

    Args:
        text: text as in `read_numbers`.
    """
    rest = _THOUSANDS.sub(" ", _FRACTION.sub(lambda match: match[0] if _fraction(match) == match[0] else " ", text))
    return _AMBIGUOUS.findall(_MONEY.sub(" ", rest))


def _money(symbol: str, amount: str, scale: str) -> str:
    """$5 -> five dollars; $5.50 -> five dollars fifty cents; $5.5 million -> five point five million dollars."""
    one, several, hundredth, hundredths = _CURRENCIES[symbol]
    whole, _, decimals = amount.replace(",", "").partition(".")
    if scale:
        return f"{_number(amount)} {_SCALES.get(scale.lower(), scale)} {several}"
    if decimals and (len(decimals) != 2 or not hundredth):
        return f"{_number(amount)} {several}"
    small = int(decimals or 0)
    large = whole if whole.strip("0") or small else "0"
    return " ".join([
        *([f"{cardinal(large)} {one if large == '1' else several}"] if large.strip("0") or not small else []),
        *([f"{cardinal(str(small))} {hundredth if small == 1 else hundredths}"] if small else []),
    ])  # fmt: skip


def _fraction(match: re.Match[str]) -> str:
    """1/2 -> one half; 3 1/4 -> three and a quarter; unchanged if it may be a date or a ratio."""
    whole, slash = match[1], match[3]
    top, bottom = int(match[2]), int(match[4])
    if slash == "/" and not (top < bottom and bottom in _CLEAR_DENOMINATORS):
        return match[0]
    name = {2: "half", 4: "quarter"}.get(bottom) or num2words(bottom, to="ordinal")
    name = name if top == 1 else {2: "halves"}.get(bottom, f"{name}s")
    count = "a" if whole and top == 1 else cardinal(match[2])
    return f"{cardinal(whole)} and {count} {name}" if whole else f"{count} {name}"


def _clock(match: re.Match[str]) -> str:
    """19:00 hours -> nineteen hundred hours; 7:00 -> seven o'clock; 7:05 -> seven oh five."""
    hour, minute = cardinal(str(int(match[1]))), int(match[2])
    if match[3]:
        return f"{hour} {'hundred' if minute == 0 else cardinal(str(minute))} hours"
    if minute == 0:
        return f"{hour} o'clock"
    return f"{hour} {'oh ' if minute < 10 else ''}{cardinal(str(minute))}"


def cardinal(digits: str) -> str:
    """Read a number; codes (007) and very long numbers digit by digit."""
    if len(digits) > _MAX_DIGITS or (len(digits) > 1 and digits[0] == "0"):
        return _digits(digits)
    return num2words(int(digits))


def _year_or_cardinal(digits: str) -> str:
    """1844 -> eighteen forty-four; 2000 to 2009 as cardinals."""
    is_year = len(digits) == 4 and (1100 <= int(digits) < 2000 or 2010 <= int(digits) < 2100)
    return num2words(int(digits), to="year") if is_year else cardinal(digits)


def _number(text: str) -> str:
    """1,234.5 -> one thousand two hundred and thirty-four point five; .5 -> point five."""
    whole, _, decimals = text.replace(",", "").partition(".")
    return " ".join([*([cardinal(whole)] if whole else []), *(["point", _digits(decimals)] if decimals else [])])


def _ordinal(digits: str) -> str:
    return num2words(int(digits), to="ordinal") if len(digits) <= _MAX_DIGITS else _digits(digits)


def _digits(digits: str) -> str:
    return " ".join(num2words(int(digit)) for digit in digits)


def _plural(words: str) -> str:
    """Forty -> forties, six -> sixes, hundred -> hundreds."""
    if words.endswith("y"):
        return words[:-1] + "ies"
    return words + ("es" if words.endswith("x") else "s")


_READERS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (_MINUS, lambda match: "minus"),
    (_PERCENT, lambda match: "percent"),
    (_MONEY, lambda match: _money(match[1], match[2], match[3] or match[4] or "")),
    (_MONEY_BEHIND, lambda match: _money(match[4], match[1], match[2] or match[3] or "")),
    (_COUNTED, lambda match: cardinal(match[1])),
    (_CLOCK, _clock),
    (_FRACTION, _fraction),
    (_DECADE, lambda match: _plural(_year_or_cardinal(match[1].replace(",", "")))),
    (_ORDINAL, lambda match: _ordinal(match[1].replace(",", ""))),
    (_THOUSANDS, lambda match: _number(match[0])),
    (_DECIMAL, lambda match: _number(match[0])),
    (_INTEGER, lambda match: _year_or_cardinal(match[0])),
)

"""Distinguish single quotation marks from apostrophes."""

from __future__ import annotations

import re

# Words that lost their beginning: a mark before them opens no quotation.
_ELISIONS = frozenset({
    "bout", "cause", "cos", "cuz", "em", "fraid", "gainst", "kay", "mongst", "nother", "nuff", "scuse", "tain", "til",
    "tis", "tisn", "twas", "twasn", "tween", "twere", "twill", "twixt", "twould",
})  # fmt: skip
# The same for words that may also begin a quotation: an apostrophe unless a mark closes the quotation.
_POSSIBLE_ELISIONS = frozenset({
    "ad", "ave", "cept", "cross", "e", "er", "ere", "im", "is", "isself", "n", "neath", "ome", "ospital", "ouse", "ow",
    "pon", "round", "spect", "spose", "un", "way", "ya", "ye",
})  # fmt: skip
# Words that may end in an apostrophe: BOYS', JUMPIN', TH', OL'.
_MAY_END = re.compile(r"(?:[a-z]s|[a-z]in|\b(?:an|ha|o|ol|tha|th|wi))$", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]*")
_CLOSING_MARKS = frozenset(".,!?;:-\u2014\u2026%)")


def remove_english_quotes(text: str) -> str:
    """Remove single quotation marks from English text; keep apostrophes, as in 'EM, BOYS' and JUMPIN'.

    Args:
        text: text with ASCII quotation marks.

    Example:
        >>> remove_english_quotes("'Go forward ten meters' in the boys' room")
        "Go forward ten meters in the boys' room"
    """
    opening: int | None = None
    closings: list[int] = []
    removed: set[int] = set()
    for index in (match.start() for match in re.finditer("'", text)):
        if _opens(text, index) and _next_word(text, index) not in _ELISIONS:
            removed |= _quotation(text, opening, closings)
            opening, closings = index, []
        elif _closes(text, index):
            closings.append(index)
    removed |= _quotation(text, opening, closings)
    return "".join(character for index, character in enumerate(text) if index not in removed)


def remove_paired_quotes(text: str) -> str:
    """Remove pairs of single quotation marks, innermost first; keep marks without a partner.

    Example:
        >>> remove_paired_quotes("'zehn Meter' hat's, wie geht's")
        "zehn Meter hat's, wie geht's"
    """
    stack: list[int] = []
    removed: set[int] = set()
    for index in (match.start() for match in re.finditer("'", text)):
        if _opens(text, index):
            stack.append(index)
        elif _closes(text, index) and stack:
            removed |= {stack.pop(), index}
    return "".join(character for index, character in enumerate(text) if index not in removed)


def _quotation(text: str, opening: int | None, closings: list[int]) -> set[int]:
    """Return the quotation marks among an opening mark and the possible closing marks after it."""
    certain = [index for index in closings if not _may_be_apostrophe(text, index)]
    if opening is None:
        return set(certain)
    close = (certain or closings)[:1]
    if not close and _next_word(text, opening) in _POSSIBLE_ELISIONS:
        return set()
    return {opening, *close, *certain}


def _opens(text: str, index: int) -> bool:
    return not text[index - 1 : index].isalnum() and text[index + 1 : index + 2].isalnum()


def _closes(text: str, index: int) -> bool:
    before = text[index - 1 : index]
    return not text[index + 1 : index + 2].isalnum() and (before.isalnum() or before in _CLOSING_MARKS) and bool(before)


def _may_be_apostrophe(text: str, index: int) -> bool:
    return bool(_MAY_END.search(text[max(0, index - 20) : index]))


def _next_word(text: str, index: int) -> str:
    match = _WORD.match(text, index + 1)
    return match[0].lower() if match else ""

"""Units of a lang folder, and lexicons written in the units of another one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from augmem.errors import UserError
from augmem.lang.lexicon import DISAMBIGUATION, SPECIAL_WORDS, Entry
from augmem.lang.symbols import read_symbols

logger = logging.getLogger(__name__)


class UnitLexicon(NamedTuple):
    """Units in the order of their ids, and the pronunciations of all words."""

    units: list[str]
    entries: list[Entry]


def read_units(folder: Path) -> list[str]:
    """Return the units of a lang folder in the order of their ids, without disambiguation symbols."""
    return [unit for unit in read_symbols(folder / "tokens.txt") if not DISAMBIGUATION.fullmatch(unit)]


def restrict_to_units(base: Path | None, lexicon: UnitLexicon) -> UnitLexicon:
    """Keep the units of a lang folder, and leave out words with other units.

    Args:
        base: the lang folder; None returns `lexicon` unchanged.
        lexicon: units and entries of a new lexicon.

    Raises:
        UserError: more than half of the words have other units, so the lexicon is of another kind.
    """
    if base is None:
        return lexicon
    units = read_units(base)
    entries = [entry for entry in lexicon.entries if set(units).issuperset(entry[1])]
    words = {word for word, _ in lexicon.entries} - SPECIAL_WORDS
    left_out = sorted(words - {word for word, _ in entries})
    other = sorted({unit for _, form in lexicon.entries for unit in form} - set(units))
    if len(left_out) > len(words) / 2:
        raise UserError(
            f"the lexicon has units that {base} lacks ({', '.join(other[:10])}): a trained model keeps its units; "
            f"use a lexicon with the units of {base / 'tokens.txt'}, or train a new model in another experiment folder"
        )
    if other:
        logger.warning(
            "%d words have no pronunciation in the units of %s and cannot be recognised (%s); other units: %s",
            len(left_out), base, ", ".join(left_out[:10]), ", ".join(other[:10]),
        )  # fmt: skip
    return UnitLexicon(units, entries)

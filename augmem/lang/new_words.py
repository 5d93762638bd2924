"""Words that a user adds to a trained model: a list with optional pronunciations and weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from augmem.errors import UserError
from augmem.lang.adapt import load_matching_dictionary, own_pronunciations, unit_kind
from augmem.lang.arpa import read_arpa, write_arpa
from augmem.lang.config import LangConfig
from augmem.lang.g2p import Guess, default_cache, guess_pronunciations
from augmem.lang.lang import Lang
from augmem.lang.lexicon import RESERVED_WORDS, Pronunciation
from augmem.lang.normalisation import Normalisation
from augmem.lang.text_files import lines, write_lines

GIVEN, IN_LEXICON = "given", "lexicon"  # sources of pronunciations


@dataclass(frozen=True)
class NewWord:
    """A word to add.

    Args:
        word: normalised.
        phones: a pronunciation; empty: none is given.
        weight: factor on its probability; see `BackoffModel.add_words`.
        line: its line in the file.
    """

    word: str
    phones: Pronunciation = ()
    weight: float = 1.0
    line: int = 0


def read_new_words(path: Path, lang: Lang) -> list[NewWord]:
    """Read lines "word<TAB>phones<TAB>weight"; phones and weight are optional, and # starts a comment.

    Written forms are normalised. One of several words, such as a full name, adds each of them.

    Args:
        path: the file.
        lang: the lang folder of the model.

    Raises:
        FileNotFoundError: no such file.
        UserError: a line is invalid, or there is no word.
    """
    words = [word for number, line in enumerate(lines(path), 1) for word in _read_line(path, number, line, lang)]
    if not words:
        raise UserError(f"{path}: no word; write one on each line: word<TAB>phones<TAB>weight")
    return words


def _read_line(path: Path, number: int, line: str, lang: Lang) -> Iterator[NewWord]:
    fields = [field.strip() for field in line.split("\t")]
    if not fields[0] or fields[0].startswith("#"):
        return
    where = f"{path}:{number}"
    if len(fields) > 3:
        raise UserError(f"{where}: {len(fields)} fields; expected word<TAB>phones<TAB>weight")
    written, phones, weight = (*fields, "", "")[:3]
    words = _spoken_words(written, lang.normalisation, where)
    forms = tuple(phones.split())
    if forms and len(words) > 1:
        raise UserError(f"{where}: {written!r} is {len(words)} words; write a line for each pronunciation")
    _check_phones(forms, lang, where)
    for word in words:
        yield NewWord(word, forms, _read_weight(weight, where), number)


def _spoken_words(written: str, normalisation: Normalisation, where: str) -> list[str]:
    words = normalisation(written).split()
    if not words:
        raise UserError(
            f"{where}: no word of {written!r} remains after normalisation {normalisation.form}; write it in words"
        )
    if reserved := [word for word in words if word in RESERVED_WORDS]:
        raise UserError(f"{where}: {reserved[0]} is a reserved symbol; remove it")
    return words


def _check_phones(phones: Sequence[str], lang: Lang, where: str) -> None:
    if not phones:
        return
    if (kind := unit_kind(lang.folder)) != "phone":
        raise UserError(f"{where}: the units of the model are {kind}s, not phones; leave out the pronunciation")
    units = [lang.unit_of[index] for index in lang.unit_ids]
    if unknown := [phone for phone in phones if phone not in units]:
        raise UserError(f"{where}: {unknown[0]} is not a phone of the model; its phones are {' '.join(units)}")


def _read_weight(text: str, where: str) -> float:
    try:
        weight = float(text or 1)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise UserError(f"{where}: weight {text!r} must be a number above 0; 10 makes a word ten times as probable")
    return weight


def word_weights(words: Sequence[NewWord]) -> dict[str, float]:
    """Return the weight of each word, the highest of its lines.

    Example:
        >>> word_weights([NewWord("ADA"), NewWord("ADA", weight=5.0)])
        {'ADA': 5.0}
    """
    weights: dict[str, float] = {}
    for entry in words:
        weights[entry.word] = max(entry.weight, weights.get(entry.word, 0.0))
    return weights


def pronounce(words: Sequence[NewWord], lang: Lang) -> list[Guess]:
    """Return the pronunciations of new words in phones: the given ones, those of the lexicon, or guesses.

    A given pronunciation is added to those of the lexicon. Units other than phones need none.

    Raises:
        UserError: a word has no pronunciation.
    """
    if unit_kind(lang.folder) != "phone":
        return []
    dictionary = load_matching_dictionary(lang)
    known = {**dictionary, **own_pronunciations(lang)}
    given = {word.word for word in words if word.phones}
    missing = [word for word in dict.fromkeys(w.word for w in words) if word not in known and word not in given]
    trained_on = dictionary or known  # as in the lang stage, whose G2P model is in the cache
    guesses, failed = guess_pronunciations(missing, trained_on, default_cache(), LangConfig().g2p_training_entries)
    if failed:
        raise UserError(
            f"{', '.join(failed[:5])}: G2P finds no pronunciation; write it after the word: word<TAB>phones"
        )
    in_lexicon = [Guess(word, form, IN_LEXICON) for word in dict.fromkeys(w.word for w in words)
                  for form in known.get(word, [])]  # fmt: skip
    return [*(Guess(word.word, word.phones, GIVEN) for word in words if word.phones), *in_lexicon, *guesses]


def write_extended_model(arpa: Path, weights: Mapping[str, float], output: Path) -> None:
    """Write a language model with further or more probable words; see `BackoffModel.add_words`.

    Raises:
        UserError: a fault in `arpa`.
    """
    write_arpa(output, read_arpa(arpa).add_words(weights))


def write_pronunciations(path: Path, pronunciations: Sequence[Guess]) -> None:
    """Write a lexicon file."""
    write_lines(path, dict.fromkeys(f"{entry.word} {' '.join(entry.phones)}" for entry in pronunciations))

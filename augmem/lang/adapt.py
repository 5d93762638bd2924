"""Lang folders with the units of a trained model and the words of another language model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from augmem.errors import UserError
from augmem.lang.arpa import copy_arpa, read_vocabulary
from augmem.lang.bpe import MODEL_NAME, copy_pieces, encode_words
from augmem.lang.config import LangConfig
from augmem.lang.lang import Lang
from augmem.lang.lexicon import SPECIAL_WORDS, Lexicon, collect_phones, load_cmudict, read_lexicon
from augmem.lang.ngram import write_grammar
from augmem.lang.normalisation import ENGLISH, Normalisation
from augmem.lang.prepare import letter_lexicon, load_dictionary, phone_lexicon, write_lang
from augmem.lang.units import UnitLexicon, read_units, restrict_to_units

_LETTER = re.compile(r"._[BIES]")


def adapt_lang(base: Path, arpa: Path, lexicon: Path | None, output: Path) -> None:
    """Write a lang folder with the units of `base` and the words of a language model.

    Pronunciations come from `lexicon`, from `base`, from the CMU dictionary if it has the same phones, and from G2P, in
    this order; letters and word pieces need none.

    Args:
        base: the lang folder of a trained model.
        arpa: the language model, may be .gz or .xz.
        lexicon: a lexicon file for the phones of `base`; None: no further pronunciations.
        output: the new folder.

    Raises:
        UserError: the language model is of another case or language, or the lexicon has other phones.
    """
    output.mkdir(parents=True, exist_ok=True)
    lang = Lang.load(base)
    words = language_model_words(arpa, lang.normalisation)
    kind = unit_kind(base)
    if kind == "word piece":
        found = UnitLexicon(copy_pieces(base, output), encode_words(words, output))
    elif kind == "letter":
        found = letter_lexicon(words)
    else:
        given = read_lexicon(lexicon, lang.normalisation) if lexicon else {}
        dictionary = load_matching_dictionary(lang)  # its G2P model is in the cache
        known = {**dictionary, **own_pronunciations(lang), **given}
        found = phone_lexicon(LangConfig(), words, known, output, dictionary)
    write_lang(restrict_to_units(base, found), lang.silence_probability, output, lang.normalisation)


def write_given_grammar(arpa: Path, lang_dir: Path, output: Path) -> None:
    """Write a language model as FST text with the ids of a lang folder; see `write_grammar`.

    Args:
        arpa: language model.
        lang_dir: lang folder.
        output: file to write.
    """
    plain = output.with_suffix(".arpa")
    copy_arpa(arpa, plain, Lang.load(lang_dir).pronunciations)
    write_grammar(plain, lang_dir / "words.txt", output, str(arpa))
    plain.unlink()


def language_model_words(arpa: Path, normalisation: Normalisation = ENGLISH) -> list[str]:
    """Return the words of an ARPA file that normalised text can contain, sorted.

    Raises:
        UserError: most of its words are not normalised.
    """
    found = read_vocabulary(arpa)
    words = sorted(word for word in found if normalisation.is_word(word) and word not in SPECIAL_WORDS)
    if len(words) <= len(found) / 2:
        example = next(iter(sorted(set(found) - set(words))), "no word at all")
        raise UserError(
            f"{arpa}: only {len(words)} of {len(found)} words are normalised as those of the model "
            f"(normalisation {normalisation.form}), not {example}; convert it: augmem prune-lm {arpa} "
            f"--{'upper' if normalisation == ENGLISH else 'lower'}-case --output NEW.arpa.gz"
        )
    return words


def unit_kind(lang_dir: Path) -> Literal["word piece", "letter", "phone"]:
    """Return the kind of the units of a lang folder."""
    if (lang_dir / MODEL_NAME).is_file():
        return "word piece"
    return "letter" if any(map(_LETTER.fullmatch, read_units(lang_dir))) else "phone"


def load_matching_dictionary(lang: Lang) -> Lexicon:
    """Return the CMU dictionary if its phones are those of a lang folder; otherwise an empty lexicon."""
    is_cmu = set(collect_phones(own_pronunciations(lang))) <= set(collect_phones(load_cmudict()))
    return load_dictionary(LangConfig(), lang.normalisation) if is_cmu else {}


def own_pronunciations(lang: Lang) -> Lexicon:
    """Return the pronunciations of a lang folder in phones."""
    return {
        word: [tuple(lang.unit_of[unit] for unit in form) for form in forms]
        for word, forms in lang.pronunciations.items()
        if word not in SPECIAL_WORDS
    }

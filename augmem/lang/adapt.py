"""Lang folders with the units of a trained model and the words of another language model."""

from __future__ import annotations

import re
from pathlib import Path

from augmem.errors import UserError
from augmem.lang.arpa import copy_arpa, read_vocabulary
from augmem.lang.bpe import MODEL_NAME, copy_pieces, encode_words
from augmem.lang.config import LangConfig
from augmem.lang.lang import Lang
from augmem.lang.lexicon import SPECIAL_WORDS, Lexicon, load_cmudict, phones_of, read_lexicon
from augmem.lang.ngram import write_grammar
from augmem.lang.normalisation import ENGLISH, Normalisation
from augmem.lang.prepare import letter_lexicon, load_dictionary, phone_lexicon, write_lang
from augmem.lang.units import UnitLexicon, read_units, with_units_of

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
    if (base / MODEL_NAME).is_file():
        found = UnitLexicon(copy_pieces(base, output), encode_words(words, output))
    elif any(map(_LETTER.fullmatch, read_units(base))):
        found = letter_lexicon(words)
    else:
        found = phone_lexicon(LangConfig(), words, _pronunciations(lang, lexicon), output)
    write_lang(with_units_of(base, found), lang.silence_probability, output, lang.normalisation)


def write_given_grammar(arpa: Path, lang_dir: Path, output: Path) -> None:
    """Write a language model as FST text with the ids of a lang folder; see `write_grammar`."""
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


def _pronunciations(lang: Lang, lexicon: Path | None) -> Lexicon:
    """Merge all pronunciations in the phones of a lang folder; those of `lexicon` come first."""
    known = {
        word: [tuple(lang.unit_of[unit] for unit in form) for form in forms]
        for word, forms in lang.pronunciations.items()
        if word not in SPECIAL_WORDS
    }
    rules = lang.normalisation
    dictionary = load_dictionary(LangConfig(), rules) if set(phones_of(known)) <= set(phones_of(load_cmudict())) else {}
    return {**dictionary, **known, **(read_lexicon(lexicon, rules) if lexicon else {})}

"""The stage lang: write a lang folder in icefall's format from training text and a lexicon."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from augmem.errors import UserError
from augmem.files import write_text
from augmem.lang.arpa import read_vocabulary
from augmem.lang.bpe import copy_pieces, encode_words, train_pieces
from augmem.lang.config import LangConfig
from augmem.lang.g2p import Guess, default_cache, guess_pronunciations
from augmem.lang.lang import SILENCE_PROBABILITY_FILE, Lang, content_hash
from augmem.lang.lexicon import (
    DISAMBIGUATION,
    OOV_WORD,
    RESERVED,
    SILENCE,
    SPECIAL_ENTRIES,
    SPECIAL_WORDS,
    SPOKEN_NOISE,
    Lexicon,
    add_disambiguation,
    collect_phones,
    format_lexicon,
    load_cmudict,
    read_lexicon,
    split_letters,
)
from augmem.lang.normalisation import ENGLISH, Normalisation
from augmem.lang.symbols import number_symbols, write_symbols
from augmem.lang.units import UnitLexicon, restrict_to_units
from augmem.lang.vocabulary import check_language_model, check_lexicon, extra_vocabulary, training_vocabulary

logger = logging.getLogger(__name__)


def prepare_lang(
    config: LangConfig,
    texts: Sequence[str],
    output: Path,
    language_models: Sequence[Path] = (),
    base: Path | None = None,
    normalisation: Normalisation = ENGLISH,
) -> None:
    """Write a lang folder for the words of `texts` (normalised training transcripts).

    A given lexicon and the first of the given language models add their words.

    Files: tokens.txt, words.txt, lexicon.txt, lexicon_disambig.txt, silence_probability.txt, hash.txt, and
    g2p_words.txt (guessed pronunciations and their sources) or bpe.model.

    Args:
        language_models: given ARPA files, the first-pass model first.
        base: a lang folder whose units are kept, that of a trained model; None: units are selected from the data.
        normalisation: the rules that `texts` were made with.
    Raises:
        FileNotFoundError: a file of the config is missing.
        UserError: no words in `texts`, a fault in a file of the config, or a lexicon or language model of another case
            or language.
    """
    output.mkdir(parents=True, exist_ok=True)
    wider = model_words(language_models, texts, normalisation)
    silence_probability = config.silence_probability
    if config.units == "phone":
        dictionary = load_dictionary(config, normalisation)
        check_lexicon(config.lexicon, dictionary.keys(), texts)
        wider = wider.union(dictionary) if config.lexicon else wider
        words = choose_words(config, texts, wider, dictionary, normalisation)
        lexicon = phone_lexicon(config, words, dictionary, output)
    elif config.units == "grapheme":
        lexicon = letter_lexicon(choose_words(config, texts, wider, None, normalisation))
    else:
        pieces = copy_pieces(base, output) if base else train_pieces(texts, config.bpe_vocab_size, output)
        words = choose_words(config, texts, wider, None, normalisation)
        lexicon = UnitLexicon(pieces, encode_words(words, output))
        silence_probability = 0.0  # word pieces are trained without a silence unit: blanks take its place
    write_lang(restrict_to_units(base, lexicon), silence_probability, output, normalisation)
    lang = Lang.load(output)
    logger.info("lang: %d words, %d pronunciations, %d units", len(lang.words), len(lexicon.entries), lang.num_units)


def load_dictionary(config: LangConfig, normalisation: Normalisation) -> Lexicon:
    """Read the given lexicon, or the CMU dictionary in the case of normalised text.

    Raises:
        UserError: the text is not English in upper case, and no lexicon is given.
    """
    if config.lexicon:
        return read_lexicon(Path(config.lexicon), normalisation)
    if normalisation == ENGLISH:
        return load_cmudict()
    if normalisation.language and not normalisation.language.startswith("en"):
        raise UserError(
            f"lang.lexicon is null, and the CMU dictionary is English, not {normalisation.language} (corpus.language): "
            "give a lexicon, or use letters as units: --lang.units grapheme"
        )
    return {normalisation.change_case(word): forms for word, forms in load_cmudict().items()}


def model_words(
    language_models: Sequence[Path], texts: Sequence[str], normalisation: Normalisation = ENGLISH
) -> set[str]:
    """Check given language models against the training text; return the words of the first.

    Args:
        language_models: ARPA files.
        texts: training sentences.
        normalisation: normalisation of the texts.
    """
    vocabularies = [read_vocabulary(path) for path in language_models]
    for path, words in zip(language_models, vocabularies, strict=True):
        check_language_model(path, set(words), texts)
    first = vocabularies[0] if vocabularies else []
    usable = {word for word in first if normalisation.is_word(word)}
    if len(usable) < len(first):
        examples = ", ".join([word for word in first if word not in usable][:3])
        logger.warning(
            "%s: %d words cannot occur in normalised text and are left out (%s, ...)",
            language_models[0], len(first) - len(usable), examples,
        )  # fmt: skip
    return usable


def choose_words(
    config: LangConfig,
    texts: Sequence[str],
    wider: Collection[str] = (),
    lexicon: Lexicon | None = None,
    normalisation: Normalisation = ENGLISH,
) -> list[str]:
    """Return the vocabulary, sorted: the words of the training text, `wider`, and words of the extra files.

    Args:
        config: files with further words.
        texts: normalised training sentences.
        wider: words of a language model.
        lexicon: given lexicon, whose words are added.
        normalisation: normalisation of the extra files.

    Raises:
        UserError: the training text has no words.
    """
    known = training_vocabulary(texts, config.min_count)
    if not known:
        raise UserError(
            f"no word occurs {config.min_count} times or more in the {len(texts)} training transcripts: "
            "check the corpus stage's skipped.tsv, or lower lang.min_count"
        )
    extra = set(extra_vocabulary(config.extra_vocabulary, config.extra_vocabulary_size, lexicon, normalisation))
    vocabulary = {*known, *wider, *extra} - SPECIAL_WORDS
    if reserved := sorted(word for word in vocabulary if word in RESERVED or DISAMBIGUATION.fullmatch(word)):
        raise UserError(f"{', '.join(reserved[:5])} in transcripts or word lists: a reserved symbol; remove it")
    if len(vocabulary) > len(known):
        logger.info("vocabulary: %d words; %d of them are in the training text", len(vocabulary), len(known))
    return sorted(vocabulary)


def phone_lexicon(
    config: LangConfig, vocabulary: Sequence[str], lexicon: Lexicon, output: Path, trained_on: Lexicon | None = None
) -> UnitLexicon:
    """Look words up in a lexicon and guess the pronunciations of the others.

    Args:
        config: how words without an entry are pronounced.
        vocabulary: sorted words.
        lexicon: pronunciations by word.
        output: folder for g2p_words.txt.
        trained_on: lexicon that G2P is trained on; None: `lexicon`.
    """
    found = {word: lexicon[word][: config.max_pronunciations or None] for word in vocabulary if word in lexicon}
    for guess in _guess(config, [word for word in vocabulary if word not in lexicon], trained_on or lexicon, output):
        found.setdefault(guess.word, []).append(guess.phones)
    entries = [(word, phones) for word in vocabulary for phones in found.get(word, [])]
    phones = [phone for phone in collect_phones(lexicon) if phone not in (SILENCE, SPOKEN_NOISE)]
    return UnitLexicon(["<eps>", SILENCE, SPOKEN_NOISE, *phones], [*SPECIAL_ENTRIES, *entries])


def letter_lexicon(vocabulary: Sequence[str]) -> UnitLexicon:
    """Write words in letters marked by their position."""
    entries = [(word, split_letters(word)) for word in vocabulary]
    letters = sorted({letter for _, letters in entries for letter in letters})
    return UnitLexicon(["<eps>", SILENCE, SPOKEN_NOISE, *letters], [*SPECIAL_ENTRIES, *entries])


def _guess(config: LangConfig, missing: Sequence[str], lexicon: Lexicon, output: Path) -> list[Guess]:
    """Guess missing pronunciations; list every guess and every word left out in g2p_words.txt."""
    guesses: list[Guess] = []
    left_out = list(missing)
    if missing and config.g2p == "phonetisaurus":
        cache = Path(config.g2p_cache) if config.g2p_cache else default_cache()
        guesses, left_out = guess_pronunciations(missing, lexicon, cache, config.g2p_training_entries)
    rows = [f"{guess.word}\t{' '.join(guess.phones)}\t{guess.source}\n" for guess in guesses]
    rows += [f"{word}\t\tleft out: read as {OOV_WORD}\n" for word in left_out]
    write_text(output / "g2p_words.txt", "".join(rows))
    if missing:
        logger.info("%d words are not in the lexicon; g2p_words.txt lists the guesses", len(missing))
    if left_out:
        logger.warning("%d words have no pronunciation and are read as %s: %s", len(left_out), OOV_WORD, left_out[:10])
    return guesses


def write_lang(
    lexicon: UnitLexicon, silence_probability: float, output: Path, normalisation: Normalisation = ENGLISH
) -> None:
    """Write the files of units, words, lexicon, silence probability and normalisation; the hash comes last.

    Args:
        lexicon: units, words and pronunciations.
        silence_probability: probability of silence after a word.
        output: folder to write.
        normalisation: normalisation of the text.
    """
    entries, highest = add_disambiguation(lexicon.entries)
    tokens = number_symbols([*lexicon.units, *(f"#{i}" for i in range(highest + 1))])
    words = number_symbols(["<eps>", *sorted({word for word, _ in entries}), "#0", "<s>", "</s>"])
    write_symbols(output / "tokens.txt", tokens)
    write_symbols(output / "words.txt", words)
    write_text(output / "lexicon.txt", format_lexicon(lexicon.entries))
    write_text(output / "lexicon_disambig.txt", format_lexicon(entries))
    write_text(output / SILENCE_PROBABILITY_FILE, f"{silence_probability}\n")
    normalisation.save(output)
    write_text(output / "hash.txt", content_hash(output) + "\n")

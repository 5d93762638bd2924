"""Text normalisation, lexicon, G2P, lang folders (in icefall's format) and language models."""

from augmem.lang.adapt import adapt_lang, write_given_grammar
from augmem.lang.arpa import copy_arpa, read_arpa, write_arpa
from augmem.lang.backoff import END
from augmem.lang.biased import biased_model
from augmem.lang.config import LangConfig, LmConfig, NeuralLmConfig
from augmem.lang.fortunes import fortune_sentences
from augmem.lang.g2p import Guess
from augmem.lang.lang import Lang, content_hash, silent_ids, units_hash, words_hash
from augmem.lang.lexicon import (
    OOV_WORD,
    RESERVED_WORDS,
    SILENCE,
    Entry,
    add_disambiguation,
    format_lexicon,
    load_cmudict,
    read_lexicon,
)
from augmem.lang.neural import NEURAL_FILE, NeuralLm, prepare_neural_lm
from augmem.lang.new_words import (
    GIVEN,
    IN_LEXICON,
    NewWord,
    pronounce,
    read_new_words,
    word_weights,
    write_extended_model,
    write_pronunciations,
)
from augmem.lang.ngram import prepare_language_models
from augmem.lang.normalisation import ENGLISH, NORMALISATION_FILE, Normalisation, format_losses
from augmem.lang.prepare import prepare_lang
from augmem.lang.reduce import make_lexicon, prune_model
from augmem.lang.symbols import read_symbols
from augmem.lang.text import BRACKETS, LETTERS, Losses, normalise_text
from augmem.lang.text_files import lines as read_lines
from augmem.lang.text_files import write_lines
from augmem.lang.validate import validate_lang
from augmem.lang.vocabulary import read_text

__all__ = [
    "BRACKETS",
    "END",
    "ENGLISH",
    "GIVEN",
    "IN_LEXICON",
    "LETTERS",
    "NEURAL_FILE",
    "NORMALISATION_FILE",
    "OOV_WORD",
    "RESERVED_WORDS",
    "SILENCE",
    "Entry",
    "Guess",
    "Lang",
    "LangConfig",
    "LmConfig",
    "Losses",
    "NeuralLm",
    "NeuralLmConfig",
    "NewWord",
    "Normalisation",
    "adapt_lang",
    "add_disambiguation",
    "biased_model",
    "content_hash",
    "copy_arpa",
    "format_lexicon",
    "format_losses",
    "fortune_sentences",
    "load_cmudict",
    "make_lexicon",
    "normalise_text",
    "prepare_lang",
    "prepare_language_models",
    "prepare_neural_lm",
    "pronounce",
    "prune_model",
    "read_arpa",
    "read_lexicon",
    "read_lines",
    "read_new_words",
    "read_symbols",
    "read_text",
    "silent_ids",
    "units_hash",
    "validate_lang",
    "word_weights",
    "words_hash",
    "write_arpa",
    "write_extended_model",
    "write_given_grammar",
    "write_lines",
    "write_pronunciations",
]

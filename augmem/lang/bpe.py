"""Word pieces as units (sentencepiece), with the symbols of icefall: <blk> 0, <sos/eos> 1, <unk> 2."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece

from augmem.errors import UserError
from augmem.files import atomic_path, temporary_folder
from augmem.lang.lexicon import OOV_WORD, Entry

logger = logging.getLogger(__name__)

BLANK, SENTENCE, UNKNOWN = "<blk>", "<sos/eos>", "<unk>"
MODEL_NAME = "bpe.model"


def train_pieces(texts: Iterable[str], vocab_size: int, output: Path) -> list[str]:
    """Train a unigram sentencepiece model, write `bpe.model`, and return its pieces in the order of their ids.

    Args:
        texts: normalised sentences.
        vocab_size: number of pieces.
        output: folder for bpe.model.

    Raises:
        UserError: the text is too small for so many pieces; the message gives the highest possible number.
    """
    with temporary_folder() as work:
        corpus = work / "text"
        corpus.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        try:
            sentencepiece.SentencePieceTrainer.train(
                input=str(corpus),
                model_type="unigram",
                model_prefix=str(work / "bpe"),
                vocab_size=vocab_size,
                character_coverage=1.0,
                input_sentence_size=100_000_000,
                user_defined_symbols=[BLANK, SENTENCE],
                unk_id=2,
                bos_id=-1,
                eos_id=-1,
                num_threads=1,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise UserError(f"lang.bpe_vocab_size is {vocab_size}: too many for this text ({error})") from error
        with atomic_path(output / MODEL_NAME) as partial:
            partial.write_bytes((work / "bpe.model").read_bytes())
    model = load_pieces(output)
    return [model.id_to_piece(index) for index in range(model.get_piece_size())]


def copy_pieces(base: Path, output: Path) -> list[str]:
    """Copy `bpe.model` of a lang folder, and return its pieces in the order of their ids.

    Raises:
        FileNotFoundError: the folder has none.
    """
    if not (base / MODEL_NAME).is_file():
        raise FileNotFoundError(f"{base / MODEL_NAME}: no such file; lang.units must be those of {base}")
    with atomic_path(output / MODEL_NAME) as partial:
        partial.write_bytes((base / MODEL_NAME).read_bytes())
    model = load_pieces(output)
    return [model.id_to_piece(index) for index in range(model.get_piece_size())]


def load_pieces(folder: Path) -> sentencepiece.SentencePieceProcessor:
    """Load the sentencepiece model of a lang folder.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / MODEL_NAME
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except RuntimeError as error:
        raise UserError(f"{path}: not a sentencepiece model ({error}); run the lang stage again") from error


def encode_words(words: Sequence[str], folder: Path) -> list[Entry]:
    """Return the most likely pieces of each word; the out-of-vocabulary word is the unknown piece."""
    model = load_pieces(folder)
    known = {model.id_to_piece(index) for index in range(model.get_piece_size())}
    pieces = model.encode(list(words), out_type=str)
    entries = [(word, tuple(parts)) for word, parts in zip(words, pieces, strict=True) if known.issuperset(parts)]
    if len(entries) < len(words):
        logger.warning(
            "%d words have letters that do not occur in the training text: left out", len(words) - len(entries)
        )
    return [(OOV_WORD, (UNKNOWN,)), *entries]

"""A lang folder in memory: units, words and pronunciations."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from augmem.errors import UserError
from augmem.files import sha256_json
from augmem.lang.lexicon import DISAMBIGUATION, OOV_WORD, SILENCE
from augmem.lang.normalisation import Normalisation
from augmem.lang.symbols import read_symbols

HASHED = ("tokens.txt", "words.txt", "lexicon.txt")
SILENCE_PROBABILITY_FILE = "silence_probability.txt"
_ICEFALL_SILENCE_PROBABILITY = 0.5  # prepare_lang.py's default, not stored in its lang folders


@dataclass(frozen=True)
class Lang:
    """The content of a lang folder.

    Attributes:
        folder: path it was read from.
        tokens: unit -> id, blank (0) and disambiguation symbols (#0, #1, ..., the highest ids) included.
        words: word -> id, <eps> (0), #0, <s> and </s> included.
        pronunciations: word -> its pronunciations as unit ids.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from augmem.lang import LangConfig, prepare_lang
        >>> with TemporaryDirectory() as folder:
        ...     prepare_lang(LangConfig(units="grapheme"), ["A CAT"], Path(folder))
        ...     lang = Lang.load(Path(folder))
        >>> [lang.unit_of[unit] for unit in lang.pronunciations["CAT"][0]]
        ['C_B', 'A_I', 'T_E']
    """

    folder: Path
    tokens: dict[str, int]
    words: dict[str, int]
    pronunciations: dict[str, list[list[int]]]

    blank = 0
    oov_word = OOV_WORD

    @classmethod
    def load(cls, folder: Path) -> Lang:
        """Read a lang folder, of this project or of icefall.

        Raises:
            FileNotFoundError: a file is missing.
            UserError: a fault; the message names the file, the line and the remedy.
        """
        folder = Path(folder)
        tokens = read_symbols(folder / "tokens.txt")
        pronunciations = _read_pronunciations(folder / "lexicon.txt", tokens)
        return cls(folder, tokens, read_symbols(folder / "words.txt"), pronunciations)

    @cached_property
    def unit_ids(self) -> list[int]:
        """Ids of the units without blank and disambiguation symbols, ascending."""
        kept = (index for unit, index in self.tokens.items() if not DISAMBIGUATION.fullmatch(unit))
        return sorted(index for index in kept if index != self.blank)

    @cached_property
    def num_units(self) -> int:
        """Size of a model's output: the highest unit id + 1, blank included."""
        return self.unit_ids[-1] + 1

    @cached_property
    def word_of(self) -> dict[int, str]:
        """id -> word."""
        return {index: word for word, index in self.words.items()}

    @cached_property
    def unit_of(self) -> dict[int, str]:
        """id -> unit."""
        return {index: unit for unit, index in self.tokens.items()}

    def word_ids(self, text: str) -> list[int]:
        """Return the word ids of a normalised text; words outside the vocabulary become <UNK>."""
        unknown = self.words[self.oov_word]
        return [self.words[word] if word in self.pronunciations else unknown for word in text.split()]

    @cached_property
    def silence_ids(self) -> tuple[int, ...]:
        """Id of the silence unit, as a tuple; empty for units without silence, such as word pieces."""
        return (self.tokens[SILENCE],) if SILENCE in self.tokens else ()

    @cached_property
    def silent_ids(self) -> tuple[int, ...]:
        """Ids of blank and silence."""
        return silent_ids(self.tokens)

    @cached_property
    def units_hash(self) -> str:
        """Hex digest of the units and their ids: all that an acoustic model depends on."""
        return units_hash(self.tokens)

    @cached_property
    def words_hash(self) -> str:
        """Hex digest of words.txt and lexicon.txt: what a decoding graph depends on besides the units."""
        return words_hash(self.folder)

    @cached_property
    def normalisation(self) -> Normalisation:
        """The rules that its words were made with.

        Raises:
            UserError: a fault in the file.
        """
        return Normalisation.load(self.folder)

    @cached_property
    def silence_probability(self) -> float:
        """Probability of silence between words in L; 0 for a lexicon without silence.

        Raises:
            UserError: the file is damaged, or the folder was made by an earlier release, which did not store it.
        """
        path = self.folder / SILENCE_PROBABILITY_FILE
        if path.is_file():
            return _read_probability(path)
        if (self.folder / "hash.txt").is_file():
            raise UserError(f"{path}: no such file; run the lang stage again")
        return _ICEFALL_SILENCE_PROBABILITY if SILENCE in self.tokens else 0.0


def _read_probability(path: Path) -> float:
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    try:
        if 0 <= (value := float(text)) < 1:
            return value
    except ValueError:
        pass
    raise UserError(f"{path}:1: expected a probability below 1, found {text[:50]!r}; run the lang stage again")


def silent_ids(tokens: Mapping[str, int]) -> tuple[int, ...]:
    """Return the ids of blank and, if the units have one, of silence."""
    return (0, tokens[SILENCE]) if SILENCE in tokens else (0,)


def units_hash(tokens: Mapping[str, int]) -> str:
    """Return a hex digest of units and their ids.

    Disambiguation symbols do not count: their number depends on the lexicon.
    """
    return sha256_json({unit: index for unit, index in tokens.items() if not DISAMBIGUATION.fullmatch(unit)})


def words_hash(folder: Path) -> str:
    """Return a hex digest of words.txt and lexicon.txt."""
    return _files_hash(folder, ("words.txt", "lexicon.txt"))


def content_hash(folder: Path) -> str:
    """Return a hex digest of tokens.txt, words.txt and lexicon.txt, the content of hash.txt."""
    return _files_hash(folder, HASHED)


def _files_hash(folder: Path, names: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; run the lang stage again")
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _read_pronunciations(path: Path, tokens: dict[str, int]) -> dict[str, list[list[int]]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run the lang stage again")
    pronunciations: dict[str, list[list[int]]] = {}
    for count, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        fields = line.split()
        unknown = [unit for unit in fields[1:] if unit not in tokens]
        if unknown or len(fields) < 2:
            fault = (
                f"{unknown[0]} is not in tokens.txt" if unknown else f"expected a word and its units, found {line!r}"
            )
            raise UserError(f"{path}:{count}: {fault}; run the lang stage again")
        pronunciations.setdefault(fields[0], []).append([tokens[unit] for unit in fields[1:]])
    return pronunciations

"""Add words to a package for the onnx engine; needs no k2."""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Sequence
from pathlib import Path
from shutil import copyfileobj, copytree
from tempfile import TemporaryDirectory

from augmem.errors import UserError
from augmem.files import atomic_path, read_json, write_text
from augmem.lang import (
    ENGLISH,
    RESERVED_WORDS,
    SILENCE,
    Guess,
    Lang,
    Normalisation,
    pronounce,
    read_new_words,
    word_weights,
    write_extended_model,
)
from augmem.onnx_package import FILES, OnnxPackage, is_onnx_package, open_onnx_package, write_onnx_package_file

_FAST = 1  # preset of xz: a third larger than by default, in a tenth of the time


def add_onnx_words(package: Path, names: Path, arpa: Path | None, output: Path) -> list[Guess]:
    """Write a package whose vocabulary has further words, and build its decoding graph.

    Args:
        package: folder made by `augmem export --format onnx`, or the shipped model.
        names: list of words; see `augmem.lang.read_new_words`. In a package of another language than English, words
            are taken as they are written.
        arpa: the language model to extend; None: that of the package.
        output: the package's folder; it can be `package`.

    Returns:
        the pronunciations of the words, with their sources.

    Raises:
        FileNotFoundError: a file is missing.
        UserError: the package is damaged, its units are not phones, the list is invalid, or `output` is another folder.
    """
    opened = open_onnx_package(package)
    if output.is_file() or (output.is_dir() and any(output.iterdir()) and not is_onnx_package(output)):
        raise UserError(f"{output}: not a package for the onnx engine; choose another folder, or delete it")
    with TemporaryDirectory() as name:
        lang = _write_lang(opened, Path(name))
        words = read_new_words(names, lang)
        pronunciations = pronounce(words, lang)
        extended = Path(name) / "G.arpa"
        write_extended_model(arpa or package / FILES.grammar, word_weights(words), extended)
        with atomic_path(output) as folder:
            copytree(package, folder)
            _compress(extended, folder / FILES.grammar)
            (folder / FILES.lexicon).unlink()
            (folder / FILES.lexicon).write_bytes(lzma.compress(_format_lexicon(lang, pronunciations).encode()))
            _add_note(folder / "README.md", names.name, len(word_weights(words)))
            values = read_json(package / "package.json")
            write_onnx_package_file(folder, {name: value for name, value in values.items() if name != "sha256"})
    with open_onnx_package(output).graph():
        return pronunciations


def _write_lang(package: OnnxPackage, folder: Path) -> Lang:
    """Write units, words and pronunciations of a package as a lang folder.

    Raises:
        UserError: the units are not phones.
    """
    tokens = package.read_tokens()
    if SILENCE not in tokens:
        raise UserError(
            f"{package.folder}: its units are not phones; add the words to the package of augmem package that it was "
            "exported from, and export that again"
        )
    words, pronunciations = package.read_words()
    unit_of = {number: unit for unit, number in tokens.items()}
    lines = [
        f"{words[word]} {' '.join(unit_of[unit] for unit in form)}\n"
        for word, forms in pronunciations.items()
        for form in forms
    ]
    _write_symbols(folder / "tokens.txt", tokens.items())
    _write_symbols(folder / "words.txt", ((word, number) for number, word in enumerate(words)))
    write_text(folder / "lexicon.txt", "".join(lines))
    _guess_normalisation(words[1:]).save(folder)
    return Lang.load(folder)


def _write_symbols(path: Path, symbols: Iterable[tuple[str, int]]) -> None:
    write_text(path, "".join(f"{symbol} {number}\n" for symbol, number in symbols))


def _guess_normalisation(words: Sequence[str]) -> Normalisation:
    """Return the normalisation of a vocabulary: English if most words can be of it, else none."""
    others = [word for word in words if word not in RESERVED_WORDS]
    english = sum(map(ENGLISH.is_word, others))
    return ENGLISH if 2 * english > len(others) else Normalisation("none")


def _format_lexicon(lang: Lang, added: Iterable[Guess]) -> str:
    """Return one "word units" line for each pronunciation, those of a word together."""
    forms: dict[str, dict[str, None]] = {
        word: {" ".join(lang.unit_of[unit] for unit in form): None for form in found}
        for word, found in lang.pronunciations.items()
    }
    for entry in added:
        forms.setdefault(entry.word, {})[" ".join(entry.phones)] = None
    return "".join(f"{word} {form}\n" for word, found in forms.items() for form in found)


def _compress(source: Path, target: Path) -> None:
    target.unlink()
    with source.open("rb") as plain, lzma.open(target, "wb", preset=_FAST) as packed:
        copyfileobj(plain, packed)


def _add_note(card: Path, names: str, count: int) -> None:
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    note = (
        f"{count} words of {names} were added or made more probable; the figures above are those of the model before."
    )
    write_text(card, f"{text}\n## Other words\n\n{note}\n")

"""A package for the onnx engine: a model of 2 MB with its lexicon and its language model.

package.json      format, feature options, scales, beams, origin; hashes of all other files and of itself
model.onnx.xz     acoustic model with int8 weights, see `augmem.sherpa`
tokens.txt        outputs of the model
lexicon.txt.xz    words with their pronunciations
G.arpa.xz         n-gram model of the first pass
LICENSE, README.md (the model card)

The decoding graph is built when the package is first opened, and kept in a cache folder.
"""

from __future__ import annotations

import lzma
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from augmem.cached import cached_file
from augmem.errors import UserError
from augmem.features import FeatureConfig
from augmem.files import find_change, read_json, sha256_files, sha256_json, write_json
from augmem.openfst import IndexedLexicon, build_openfst_hlg, read_arpa_grammar, write_openfst

ONNX_FORMAT = "augmem onnx package 2"
_PACKAGE, _CARD, _HASH, _GRAPH_VERSION = "package.json", "README.md", "sha256", 1
_SILENCE = "SIL"


class FileNames(NamedTuple):
    """Names of the files of a package."""

    model: str = "model.onnx.xz"
    tokens: str = "tokens.txt"
    lexicon: str = "lexicon.txt.xz"
    grammar: str = "G.arpa.xz"


FILES = FileNames()


@dataclass(frozen=True)
class OnnxPackage:
    """Content of a package.

    Args:
        folder: the package.
        features: feature options.
        lm_scale, word_insertion_bonus: scales of the first pass.
        silence_probability: probability of silence at the start and after each word.
        search_beam: beam of the search in nats.
        max_active: maximum number of graph states in each frame.
        hashes: hashes of the files.
    """

    folder: Path
    features: FeatureConfig
    lm_scale: float
    word_insertion_bonus: float
    silence_probability: float
    search_beam: float
    max_active: int
    hashes: Mapping[str, str]

    def read_model(self) -> bytes:
        """Return the acoustic model, in ONNX format."""
        return lzma.decompress((self.folder / FILES.model).read_bytes())

    def read_tokens(self) -> dict[str, int]:
        """Return the outputs of the model: name -> number."""
        rows = (line.split() for line in (self.folder / FILES.tokens).read_text(encoding="utf-8").splitlines())
        return {unit: int(number) for unit, number in rows}

    def read_words(self) -> tuple[list[str], dict[int, list[list[int]]]]:
        """Return all words, and the pronunciations of each word number."""
        tokens, words = self.read_tokens(), ["<eps>"]
        pronunciations: dict[int, list[list[int]]] = {}
        for line in lzma.decompress((self.folder / FILES.lexicon).read_bytes()).decode().splitlines():
            word, *units = line.split()
            if word != words[-1]:
                words.append(word)
            pronunciations.setdefault(len(words) - 1, []).append([tokens[unit] for unit in units])
        return words, pronunciations

    def graph(self) -> AbstractContextManager[Path]:
        """Yield the file of the decoding graph, which is built if it is not in the cache, see `cached_file`."""
        inputs = [_GRAPH_VERSION, *(self.hashes[name] for name in FILES[1:])]
        key = sha256_json([*inputs, self.lm_scale, self.word_insertion_bonus, self.silence_probability])
        task = f"building the decoding graph of {self.folder} (up to half a minute)"
        return cached_file(f"HLG-{key[:32]}.fst", self._build, task)

    def _build(self, path: Path) -> None:
        words, pronunciations = self.read_words()
        tokens = self.read_tokens()
        lexicon = IndexedLexicon.from_words(pronunciations, tokens.get(_SILENCE), self.silence_probability)
        grammar = read_arpa_grammar(self.folder / FILES.grammar, {word: number for number, word in enumerate(words)})
        outputs = max(tokens.values()) + 1
        write_openfst(path, build_openfst_hlg(grammar, lexicon, outputs, self.lm_scale, self.word_insertion_bonus))


def is_onnx_package(folder: Path) -> bool:
    """Return whether a folder is a package for this engine."""
    path = folder / _PACKAGE
    values = read_json(path) if path.is_file() else None
    return isinstance(values, dict) and str(values.get("format", "")).startswith("augmem onnx package")


def write_onnx_package_file(folder: Path, values: Mapping[str, Any]) -> None:
    """Write package.json with the hashes of the other files, except the model card, and of the values themselves.

    Args:
        folder: the package.
        values: fields of `OnnxPackage` besides the folder and the hashes, features as a mapping; and `origin`.
    """
    names = [path.name for path in folder.iterdir() if path.name not in (_PACKAGE, _CARD)]
    values = {"format": ONNX_FORMAT, **values, "hashes": sha256_files(folder, names)}
    write_json(folder / _PACKAGE, {**values, _HASH: sha256_json(values)})


def open_onnx_package(folder: Path) -> OnnxPackage:
    """Read a package and check its files.

    Raises:
        FileNotFoundError: there is no package.
        UserError: the package has another format, is damaged or has been changed.
    """
    path, command = folder / _PACKAGE, f"augmem export --package PACKAGE --format onnx {folder}"
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: not a packaged model; {command} makes one")
    values = read_json(path)
    if not isinstance(values, dict) or values.get("format") != ONNX_FORMAT:
        raise UserError(f"{path}: not a package for the onnx engine; {command} makes one")
    if values.pop(_HASH, None) != sha256_json(values):
        raise UserError(f"{path}: changed since it was written; copy the package again, or make it again: {command}")
    if change := find_change(folder, values["hashes"]):
        raise UserError(f"{change}; copy the package again, or make it again: {command}")
    try:
        options = {name: values[name] for name in OnnxPackage.__dataclass_fields__ if name != "folder"}
        return OnnxPackage(folder=folder, **{**options, "features": FeatureConfig(**values["features"])})
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: invalid options ({error}); package the model again: {command}") from error

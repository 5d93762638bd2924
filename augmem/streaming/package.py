"""A trained model as one folder, independent of the experiment that trained it.

package.json       format, feature options, scales, search options, origin; hashes of all other files and of itself
model.safetensors  weights and the description of the encoder
HLG.safetensors    the decoding graph
grammar.arpa.gz    the n-gram model that it was made from, for augmem words; earlier packages have none
lang/              tokens.txt, words.txt, lexicon.txt, silence_probability.txt, hash.txt
LICENSE, README.md (the model card)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import copyfile
from typing import Any, NamedTuple

from augmem.decoding import Scales, SearchConfig
from augmem.errors import UserError
from augmem.features import FeatureConfig
from augmem.files import atomic_path, find_change, read_json, sha256_files, sha256_json, write_json, write_text
from augmem.graph import HLG_FILE
from augmem.lang import NORMALISATION_FILE, Lang, copy_arpa
from augmem.model import AcousticModel

FORMAT, _UNHASHED_FORMAT = "augmem package 3", "augmem package 2"
LANG_FILES = (
    "tokens.txt", "words.txt", "lexicon.txt", "lexicon_disambig.txt", "silence_probability.txt", "bpe.model",
    "hash.txt", NORMALISATION_FILE,
)  # fmt: skip
GRAMMAR_FILE = "grammar.arpa.gz"
_PACKAGE, _MODEL, _GRAPH, _LANG = "package.json", "model.safetensors", HLG_FILE, "lang"
_FORMAT, _FILES, _HASH = "format", "files", "sha256"  # keys of package.json


class Package(NamedTuple):
    """Content of a package.

    Attributes:
        model: the acoustic model, in evaluation mode.
        lang: units and words.
        graph: file of the decoding graph.
        features: feature options.
        scales: weights of the first pass.
        search: beams and n-best lists.

    Example:
        >>> content = open_package(package)
        >>> content.model.description.num_units == content.lang.num_units, content.graph.name
        (True, 'HLG.safetensors')
    """

    model: AcousticModel
    lang: Lang
    graph: Path
    features: FeatureConfig
    scales: Scales
    search: SearchConfig


@dataclass(frozen=True)
class PackageInfo:
    """Content of a package besides model, lang folder and graph.

    Args:
        scales: weights of the first pass, tuned on dev.
        search: beams and n-best lists.
        card: text of README.md.
        license: text of LICENSE.
        origin: versions, commit and similar values for package.json.
        grammar: the n-gram model of the decoding graph, an ARPA file; None: it is not packaged.
    """

    scales: Scales
    search: SearchConfig = field(default_factory=SearchConfig)
    card: str = ""
    license: str = ""
    origin: Mapping[str, Any] = field(default_factory=dict)
    grammar: Path | None = None


def write_package(output: Path, model: Path, lang: Path, graph: Path, info: PackageInfo) -> None:
    """Write a package atomically.

    Args:
        output: the folder to write; an existing package is replaced.
        model: model file.
        lang: lang folder.
        graph: file of the decoding graph.
        info: scales, options and texts.

    Raises:
        UserError: `output` exists and is not a package.
    """
    check_output(output)
    features = AcousticModel.load(model, lang).description.features
    with atomic_path(output) as folder:
        (folder / _LANG).mkdir(parents=True)
        for name in LANG_FILES:
            if (lang / name).exists():
                copyfile(lang / name, folder / _LANG / name)
        copyfile(model, folder / _MODEL)
        copyfile(graph, folder / _GRAPH)
        if info.grammar:
            copy_arpa(info.grammar, folder / GRAMMAR_FILE, ())
        write_text(folder / "README.md", info.card)
        write_text(folder / "LICENSE", info.license)
        write_package_file(folder, to_json(features, info))


def write_package_file(folder: Path, values: Mapping[str, Any]) -> None:
    """Write package.json with the hashes of the other files and of the values themselves."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    values = {**values, _FILES: sha256_files(folder, names - {_PACKAGE})}
    write_json(folder / _PACKAGE, {**values, _HASH: sha256_json(values)})


def upgrade_package(folder: Path) -> list[Path]:
    """Add hashes to a package of an earlier release whose model has been converted; return the files written."""
    path = folder / _PACKAGE
    values = read_json(path) if path.is_file() else None
    if not isinstance(values, dict) or values.get(_FORMAT) != _UNHASHED_FORMAT or not (folder / _MODEL).is_file():
        return []
    write_package_file(folder, {**values, _FORMAT: FORMAT})
    return [path]


def open_package(folder: Path, verify: bool = True) -> Package:
    """Read a package.

    Args:
        folder: the package.
        verify: check the hashes of all files; not needed in a process whose parent has done that.

    Raises:
        FileNotFoundError: there is no package.
        UserError: it is of another format, damaged or changed.

    Example:
        >>> import torch
        >>> content = open_package(package)                  # folder made by `augmem package`
        >>> features = torch.randn(1, 200, content.features.num_mel_bins)
        >>> log_probs, lengths = content.model(features, torch.tensor([200]))
        >>> log_probs.shape[2] == content.lang.num_units
        True
    """
    features, scales, search = read_package_file(folder)
    if verify:
        check_hashes(folder, read_json(folder / _PACKAGE)[_FILES])
    model = AcousticModel.load(folder / _MODEL, folder / _LANG)
    return Package(model, Lang.load(folder / _LANG), folder / _GRAPH, features, scales, search)


def read_search(folder: Path) -> SearchConfig:
    """Read the search options of a package; raises as `open_package` does."""
    return read_package_file(folder)[2]


def read_package_file(folder: Path) -> tuple[FeatureConfig, Scales, SearchConfig]:
    """Read package.json.

    Raises:
        FileNotFoundError: there is no package.
        UserError: it is of another format, damaged or changed.
    """
    path, command = folder / _PACKAGE, f"augmem package --exp EXP --output {folder}"
    copy_again = "copy the package again, or make it again: " + command
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: not a packaged model; {command} makes one")
    values = read_json(path)
    found = values.pop(_FORMAT, None) if isinstance(values, dict) else None
    if found == _UNHASHED_FORMAT:
        raise UserError(f"{path}: of an earlier release; if you trust it, convert it: augmem convert --trust {folder}")
    if found != FORMAT:
        raise UserError(f"{path}: format {found!r} instead of {FORMAT!r}; package the model again: {command}")
    if values.pop(_HASH, None) != sha256_json({_FORMAT: found, **values}):
        raise UserError(f"{path}: changed since it was written (its sha256 is not the recorded one); {copy_again}")
    try:
        scales, search = Scales(**values["scales"]), SearchConfig(**values["search"])
        return FeatureConfig(**values["features"]), scales, search
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: invalid options ({error}); package the model again: {command}") from error


def check_hashes(folder: Path, hashes: Mapping[str, str]) -> None:
    """Raise UserError if a file is missing or changed, or if a name leads out of the package."""
    root = folder.resolve()
    for name in {*hashes, _MODEL, _GRAPH}:
        if name not in hashes or root not in (folder / name).resolve().parents:
            raise UserError(f"{folder / _PACKAGE}: has no hash of {name}, or it is not in the package; copy it again")
    if change := find_change(folder, hashes):
        raise UserError(f"{change}; copy the package again, or make it again")


def check_output(output: Path) -> None:
    """Raise UserError if `output` exists and is not a package."""
    is_used = output.is_file() or (output.is_dir() and any(output.iterdir()))
    if is_used and not (output / _PACKAGE).is_file():
        raise UserError(f"{output}: not a packaged model; choose another folder, or delete it")


def to_json(features: Mapping[str, Any], info: PackageInfo) -> dict[str, Any]:
    """Return the values to write to package.json; see `PackageInfo`."""
    return {
        _FORMAT: FORMAT,
        "features": features,
        "scales": asdict(info.scales),
        "search": asdict(info.search),
        "origin": info.origin,
    }

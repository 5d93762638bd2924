"""A trained model as one folder, independent of the experiment that trained it.

package.json       format, feature options, scales, search options, origin
model.safetensors  weights and the description of the encoder
HLG.safetensors    the decoding graph
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
from augmem.files import atomic_path, read_json, write_json, write_text
from augmem.graph import HLG_FILE
from augmem.lang import NORMALISATION_FILE, Lang
from augmem.model import AcousticModel

FORMAT = "augmem package 2"
LANG_FILES = (
    "tokens.txt", "words.txt", "lexicon.txt", "lexicon_disambig.txt", "silence_probability.txt", "bpe.model",
    "hash.txt", NORMALISATION_FILE,
)  # fmt: skip
_PACKAGE, _MODEL, _GRAPH, _LANG = "package.json", "model.safetensors", HLG_FILE, "lang"


class Package(NamedTuple):
    """Content of a package.

    Attributes:
        model: the acoustic model, in evaluation mode.
        lang: units and words.
        graph: file of the decoding graph.
        features: feature options.
        scales: weights of the first pass.
        search: beams and n-best lists.
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
    """

    scales: Scales
    search: SearchConfig = field(default_factory=SearchConfig)
    card: str = ""
    license: str = ""
    origin: Mapping[str, Any] = field(default_factory=dict)


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
        write_text(folder / "README.md", info.card)
        write_text(folder / "LICENSE", info.license)
        write_json(folder / _PACKAGE, to_json(features, info))


def open_package(folder: Path) -> Package:
    """Read a package.

    Raises:
        FileNotFoundError: there is no package.
        UserError: it is of another format, or damaged.
    """
    features, scales, search = read_options(folder)
    model = AcousticModel.load(folder / _MODEL, folder / _LANG)
    return Package(model, Lang.load(folder / _LANG), folder / _GRAPH, features, scales, search)


def read_search(folder: Path) -> SearchConfig:
    """Read the search options of a package; raises as `open_package` does."""
    return read_options(folder)[2]


def read_options(folder: Path) -> tuple[FeatureConfig, Scales, SearchConfig]:
    """Read package.json; raises as `open_package` does."""
    path, command = folder / _PACKAGE, f"augmem package --exp EXP --output {folder}"
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: not a packaged model; {command} makes one")
    values = read_json(path)
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise UserError(f"{path}: format {found!r} instead of {FORMAT!r}; package the model again: {command}")
    try:
        scales, search = Scales(**values["scales"]), SearchConfig(**values["search"])
        return FeatureConfig(**values["features"]), scales, search
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: invalid options ({error}); package the model again: {command}") from error


def check_output(output: Path) -> None:
    """Raise UserError if `output` exists and is not a package."""
    is_used = output.is_file() or (output.is_dir() and any(output.iterdir()))
    if is_used and not (output / _PACKAGE).is_file():
        raise UserError(f"{output}: not a packaged model; choose another folder, or delete it")


def to_json(features: Mapping[str, Any], info: PackageInfo) -> dict[str, Any]:
    """Return the values to write to package.json; see `PackageInfo`."""
    return {
        "format": FORMAT,
        "features": features,
        "scales": asdict(info.scales),
        "search": asdict(info.search),
        "origin": info.origin,
    }

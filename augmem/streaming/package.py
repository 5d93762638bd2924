"""A trained model as one folder that needs nothing of the experiment it came from.

package.json    format, feature description, scales, where it comes from
model.pt        weights and the encoder's description
lang/           tokens.txt, words.txt, lexicon.txt, silence_probability.txt, hash.txt
HLG.pt          the decoding graph
LICENSE, README.md (the model card)
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from shutil import copyfile
from typing import Any, NamedTuple

from augmem.decoding import Scales
from augmem.features import FeatureConfig
from augmem.files import atomic_path, read_json, write_json, write_text
from augmem.lang import Lang
from augmem.model import AcousticModel

FORMAT = "augmem package 1"
LANG_FILES = ("tokens.txt", "words.txt", "lexicon.txt", "lexicon_disambig.txt", "silence_probability.txt", "hash.txt")
_PACKAGE, _MODEL, _GRAPH, _LANG = "package.json", "model.pt", "HLG.pt", "lang"


class Package(NamedTuple):
    """What a package holds."""

    model: AcousticModel
    lang: Lang
    graph: Path
    features: FeatureConfig
    scales: Scales


def write_package(
    output: Path, model: Path, lang: Path, graph: Path, scales: Scales, card: str, licence: str, origin: dict[str, Any]
) -> None:
    """Make a package; it appears when it is whole.

    Args:
        output: the folder.
        model, lang, graph: an experiment's model.pt, lang folder and HLG.pt.
        scales: of the first pass, tuned on dev.
        card, licence: texts of README.md and LICENSE.
        origin: where it comes from, for package.json.
    Raises:
        ValueError: in its place stands something else than a package.
    """
    taken = output.is_file() or (output.is_dir() and any(output.iterdir()))
    if taken and not (output / _PACKAGE).is_file():
        raise ValueError(
            f"{output} holds something else than a packaged model: delete it yourself, or name another folder"
        )
    described = AcousticModel.load(model, lang).description
    with atomic_path(output) as folder:
        (folder / _LANG).mkdir(parents=True)
        for name in LANG_FILES:
            if (lang / name).exists():
                copyfile(lang / name, folder / _LANG / name)
        copyfile(model, folder / _MODEL)
        copyfile(graph, folder / _GRAPH)
        write_text(folder / "README.md", card)
        write_text(folder / "LICENSE", licence)
        facts = {"format": FORMAT, "features": described.features, "scales": asdict(scales), "origin": origin}
        write_json(folder / _PACKAGE, facts)


def open_package(folder: Path) -> Package:
    """Read a package.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is of another format, or damaged.
    """
    path = folder / _PACKAGE
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder}: no packaged model here; augmem package --exp EXP --output {folder} makes one"
        )
    facts = read_json(path)
    found = facts.get("format") if isinstance(facts, dict) else None
    if found != FORMAT:
        raise ValueError(f"{path}: format is {found!r}, wanted {FORMAT!r}; package the model again")
    try:
        features, scales = FeatureConfig(**facts["features"]), Scales(**facts["scales"])
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: features or scales are not as they were written ({error}); package the model again"
        ) from error
    model = AcousticModel.load(folder / _MODEL, folder / _LANG)
    return Package(model, Lang.load(folder / _LANG), folder / _GRAPH, features, scales)

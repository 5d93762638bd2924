"""Packages of a trained model with another vocabulary and language model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from augmem.automata import prepare_decoding_graph
from augmem.decoding import FIRST_PASS, TUNED_FILE, load_systems
from augmem.errors import UserError
from augmem.experiment import Experiment
from augmem.files import sha256_file
from augmem.graph import HLG_FILE
from augmem.lang import (
    Guess,
    Lang,
    adapt_lang,
    pronounce,
    read_new_words,
    word_weights,
    write_extended_model,
    write_given_grammar,
    write_pronunciations,
)
from augmem.model import AcousticModel
from augmem.packaging import LICENSE_TEXT, model_card, read_model
from augmem.scoring import provenance
from augmem.stage_runner import check_outputs
from augmem.streaming import GRAMMAR_FILE, PackageInfo, open_package, write_package


class AdaptableModel(NamedTuple):
    """A trained model and the content of its package, except the decoding graph."""

    model: Path
    lang: Path
    info: PackageInfo


def from_experiment(experiment: Experiment) -> AdaptableModel:
    """Collect the trained model of an experiment.

    Raises:
        FileNotFoundError: the experiment has not been trained or decoded.
        UserError: a file has changed since its stage wrote it.
    """
    check_outputs(experiment.model, experiment.lang, experiment.decoding / TUNED_FILE)
    scales = load_systems(experiment.decoding / TUNED_FILE)[FIRST_PASS].scales
    card = model_card(experiment, read_model(experiment))
    info = PackageInfo(scales, experiment.recipe.decoding.search, card, LICENSE_TEXT, grammar=experiment.grammar)
    return AdaptableModel(experiment.model, experiment.lang, info)


def from_package(folder: Path) -> AdaptableModel:
    """Collect the trained model of a package.

    Raises:
        FileNotFoundError: there is no package.
        UserError: the package is of another release.
    """
    package = open_package(folder)
    card, license_text = ((folder / name).read_text(encoding="utf-8") for name in ("README.md", "LICENSE"))
    grammar = folder / GRAMMAR_FILE if (folder / GRAMMAR_FILE).is_file() else None
    info = PackageInfo(package.scales, package.search, card, license_text, grammar=grammar)
    return AdaptableModel(folder / "model.safetensors", folder / "lang", info)


def add_words(trained: AdaptableModel, names: Path, arpa: Path | None, output: Path) -> list[Guess]:
    """Write a package whose vocabulary has further words; the acoustic model is not retrained.

    Args:
        trained: the model.
        names: list of words; see `read_new_words`.
        arpa: the language model to extend; None: that of the model.
        output: the package's folder; it can be that of the model.

    Returns:
        the pronunciations of the words, with their sources; none for units other than phones.

    Raises:
        FileNotFoundError: a file is missing.
        UserError: the list is invalid, or the model has no language model.
    """
    lang = Lang.load(trained.lang)
    words = read_new_words(names, lang)
    grammar = arpa or trained.info.grammar
    if grammar is None:
        raise UserError(f"{trained.lang.parent}: no language model in it; give the one it was made with: --lm LM.arpa")
    pronunciations = pronounce(words, lang)
    weights = word_weights(words)
    with TemporaryDirectory() as name:
        extended, lexicon = Path(name) / "extended.arpa", Path(name) / "lexicon.txt"
        write_extended_model(grammar, weights, extended)
        write_pronunciations(lexicon, pronunciations)
        note = f"{len(weights)} words of {names.name} were added or made more probable."
        adapt_package(trained, extended, lexicon if pronunciations else None, output, note)
    return pronunciations


def adapt_package(trained: AdaptableModel, arpa: Path, lexicon: Path | None, output: Path, note: str = "") -> None:
    """Write a package with the words of a language model; the acoustic model is not retrained.

    Args:
        trained: the model. The scales tuned with its own language model are kept.
        arpa: n-gram model in ARPA format, may be .gz or .xz; each of its words can be recognised.
        lexicon: pronunciations in the phones of the model; see `adapt_lang` for the other words.
        output: the package's folder; an older package there is replaced.
        note: what was changed, for its README.md; empty: the language model is another one.

    Raises:
        FileNotFoundError: a file is missing.
        UserError: the language model or the lexicon does not fit the model.
    """
    if not arpa.is_file():
        raise FileNotFoundError(f"{arpa}: no such language model; give an ARPA file (--lm)")
    model = AcousticModel.load(trained.model, trained.lang)
    with TemporaryDirectory(dir=output.resolve().parent if output.resolve().parent.is_dir() else None) as name:
        work = Path(name)
        model.save(work / "model.safetensors")  # in the format of this release
        adapt_lang(trained.lang, arpa, lexicon, work / "lang")
        write_given_grammar(arpa, work / "lang", work / "grammar.fst.txt")
        description = model.description
        prepare_decoding_graph(
            description.topology, description.biphones, work / "lang", work / "grammar.fst.txt", work
        )
        info = replace(
            trained.info,
            card=_card(trained.info.card, note or f"The decoding graph was rebuilt with {arpa.name}."),
            origin={**provenance(), "language_model": sha256_file(arpa)},
            grammar=arpa,
        )
        write_package(output, work / "model.safetensors", work / "lang", work / HLG_FILE, info)


def _card(card: str, note: str) -> str:
    return (
        f"{card}\n## Other language model\n\n"
        f"{note} The word error rates above are those of the original graph, and the scales are those tuned with it.\n"
    )

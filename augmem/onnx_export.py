"""Write a package for the onnx engine, see `augmem.onnx_package`."""

from __future__ import annotations

import gzip
import lzma
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from shutil import copyfile

from augmem.errors import UserError
from augmem.files import atomic_path, write_text
from augmem.onnx_package import FILES, is_onnx_package, write_onnx_package_file
from augmem.sherpa import format_tokens, write_int8, write_onnx_model
from augmem.streaming import Package

MAX_ACTIVE = 3000  # graph states in a frame, as in sherpa-onnx; more take time and find the same words


def export_onnx_package(package: Package, grammar: Path | None, output: Path) -> None:
    """Write a package for the onnx engine.

    Args:
        package: the model.
        grammar: n-gram model of its decoding graph, an ARPA file (plain or gzip).
        output: folder to write; an earlier export is replaced.

    Raises:
        UserError: the graph is of another kind than the engine builds, the grammar is missing, the encoder has no step
            of fixed shapes, a package for ONNX is missing, or `output` is another folder.
    """
    check(package, output)
    if grammar is None or not grammar.is_file():
        raise UserError("the model has no n-gram model of its graph: run the stage lm, or package the model again")
    with atomic_path(output) as folder:
        folder.mkdir(parents=True)
        (folder / FILES.model).write_bytes(lzma.compress(int8_model(package)))
        write_text(folder / FILES.tokens, format_tokens(package.lang))
        (folder / FILES.lexicon).write_bytes(lzma.compress(lexicon(package).encode()))
        opened = gzip.open if grammar.suffix == ".gz" else open
        with opened(grammar, "rb") as source, lzma.open(folder / FILES.grammar, "wb") as target:
            shutil.copyfileobj(source, target)
        for name in ("README.md", "LICENSE"):
            if (package.graph.parent / name).is_file():
                copyfile(package.graph.parent / name, folder / name)
        write_onnx_package_file(folder, {
            "features": asdict(package.features),
            "lm_scale": package.scales.lm_scale,
            "word_insertion_bonus": package.scales.word_insertion_bonus,
            "silence_probability": package.lang.silence_probability,
            "search_beam": package.search.search_beam,
            "max_active": min(package.search.max_active, MAX_ACTIVE),
        })  # fmt: skip


def int8_model(package: Package) -> bytes:
    """Return the acoustic model with int8 weights, in ONNX format."""
    with tempfile.TemporaryDirectory() as temporary:
        exact, small = Path(temporary) / "float32.onnx", Path(temporary) / "int8.onnx"
        write_onnx_model(package.model, exact)
        write_int8(exact, small)
        return small.read_bytes()


def check(package: Package, output: Path) -> None:
    """Check that the engine can build the graph of a model, and the folder to write.

    Raises:
        UserError: it cannot.
    """
    described = package.model.description
    if described.topology != "ctc" or described.biphones:
        kind = "biphones" if described.biphones else described.topology
        raise UserError(f"the graph of this model has {kind}; the onnx engine builds graphs of graph.topology ctc only")
    if output.is_file() or (output.is_dir() and any(output.iterdir()) and not is_onnx_package(output)):
        raise UserError(f"{output}: not an earlier export; choose another folder, or delete it")


def lexicon(package: Package) -> str:
    """Return one "word units" line for each pronunciation, those of a word together."""
    unit_of = package.lang.unit_of
    return "".join(
        f"{word} {' '.join(unit_of[unit] for unit in units)}\n"
        for word, forms in package.lang.pronunciations.items()
        for units in forms
    )

"""Float32, float16 and int8 weights of a model in the onnx engine: `python -m benchmarks.weights --exp EXP`.

Every N-th utterance of dev-held is streamed with the lexicon and the language model of the shipped model. float16
weights are those of the file; computations are in float32. int8 is what `augmem export --format onnx` writes.
"""

from __future__ import annotations

import argparse
import lzma
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import copyfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from augmem.files import read_json
from augmem.onnx_engine import OnnxRecognizer
from augmem.onnx_export import int8_model
from augmem.onnx_package import FILES
from augmem.packaging import read_experiment
from augmem.sherpa import write_onnx_model
from augmem.shipped import SHIPPED_MODEL
from benchmarks.shipped_model import Speech, clean, read_part, recognise
from local.ship_model import reseal, ship


def compare_weights(exp: Path, speeches: Sequence[Speech], folder: Path) -> Iterator[tuple[str, ...]]:
    """Yield type of the weights, size in bytes, size with xz, and the figures of `Results.row`.

    Args:
        exp: a decoded experiment.
        speeches: utterances.
        folder: receives the files.
    """
    package, current = read_experiment(exp), carried_package(exp, folder)
    write_onnx_model(package.model, folder / "float32.onnx")
    exact = (folder / "float32.onnx").read_bytes()
    for name, model in {"float32": exact, "float16": in_half(exact), "int8": int8_model(package)}.items():
        yield name, *stream(current, model, speeches)


def carried_package(exp: Path, folder: Path) -> Path:
    """Write a package with the model of an experiment, and the lexicon and language model of the shipped one."""
    package = folder / "package"
    package.mkdir()
    for name in (FILES.lexicon, FILES.grammar):
        copyfile(SHIPPED_MODEL / name, package / name)
    ship(exp, package)
    return package


def stream(package: Path, model: bytes, speeches: Sequence[Speech]) -> tuple[str, ...]:
    """Stream utterances with another model in a package; return its sizes and the figures of `Results.row`."""
    compressed = lzma.compress(model)
    (package / FILES.model).write_bytes(compressed)
    reseal(package, read_json(package / "package.json"))
    row = recognise(OnnxRecognizer(package), speeches, clean).row()
    return f"{len(model):,}", f"{len(compressed):,}", *row


def in_half(model: bytes) -> bytes:
    """Return an ONNX model whose large weights are float16 in the file, and float32 in computations."""
    loaded = onnx.load_from_string(model)
    for weights in loaded.graph.initializer:
        values = numpy_helper.to_array(weights)
        if values.dtype == np.float32 and values.size > 1000:
            name = weights.name
            weights.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
            loaded.graph.node.insert(0, helper.make_node("Cast", [weights.name], [name], to=TensorProto.FLOAT))
    return loaded.SerializeToString()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp", type=Path, required=True)
    parser.add_argument("--every", type=int, default=4, help="use every N-th utterance (%(default)s)")
    args = parser.parse_args()
    print("| weights | bytes | with xz | utterances | words | WER % | by utterance | by chapter | delay of words, s |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for row in compare_weights(args.exp, read_part("dev-held", folder, args.every), folder):
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()

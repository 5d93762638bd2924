"""The folder that sherpa-onnx reads.

model.onnx, model.int8.onnx   the acoustic model; its matrices in float32, and in int8
tokens.txt, words.txt         outputs of the model, words of the graph
HLG.fst                       the decoding graph in OpenFst's format; it contains the scales of the first pass
transcribe.py                 a program that transcribes a file
README.md                     how to use the files
"""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from shutil import copyfile

from augmem.automata import to_openfst
from augmem.decoding import DecodingGraph, Scales
from augmem.errors import UserError
from augmem.features import FeatureConfig
from augmem.files import atomic_path, write_text
from augmem.lang import Lang
from augmem.openfst import write_openfst
from augmem.sherpa.onnx_model import write_int8, write_onnx_model
from augmem.streaming import Package

MODEL_FILE, INT8_FILE, GRAPH_FILE = "model.onnx", "model.int8.onnx", "HLG.fst"
_TEMPLATES = Path(__file__).parent / "files"
_FIXED = (
    "frame_length",
    "frame_shift",
    "low_freq",
    "high_freq",
    "band",
)  # options of features that sherpa-onnx does not have
_SPARE_FRAMES = 3  # sherpa-onnx runs a window when one more frame exists; the last frames need samples after them


def export_sherpa(package: Package, output: Path) -> None:
    """Write a model, its graph and a program for sherpa-onnx.

    Args:
        package: the model.
        output: folder to write; an earlier export is replaced.

    Raises:
        UserError: sherpa-onnx cannot compute the features, the encoder has no step of fixed shapes, a package for ONNX
            is missing, or `output` is another folder.
    """
    check_features(package.features)
    if output.is_file() or (output.is_dir() and any(output.iterdir()) and not (output / GRAPH_FILE).is_file()):
        raise UserError(f"{output}: not an earlier export; choose another folder, or delete it")
    with atomic_path(output) as folder:
        folder.mkdir(parents=True)
        write_onnx_model(package.model, folder / MODEL_FILE)
        write_int8(folder / MODEL_FILE, folder / INT8_FILE)
        write_text(folder / "tokens.txt", format_tokens(package.lang))
        copyfile(package.lang.folder / "words.txt", folder / "words.txt")
        write_graph(package.graph, package.scales, folder / GRAPH_FILE)
        for name in ("transcribe.py", "README.md"):
            write_text(folder / name, fill_template(name, package))


def check_features(features: FeatureConfig) -> None:
    """Raise UserError if sherpa-onnx computes other features than these."""
    for name in _FIXED:
        value, fixed = getattr(features, name), getattr(FeatureConfig(), name)
        if value != fixed:
            raise UserError(f"features.{name} is {value}, and sherpa-onnx has {fixed} only: train a model with that")


def format_tokens(lang: Lang) -> str:
    """Return the outputs of the model, as lines "symbol id"; sherpa-onnx requires the name <blk> or <eps> for 0."""
    units = [f"{lang.unit_of[unit]} {unit}\n" for unit in lang.unit_ids]
    return "".join(["<blk> 0\n", *units])


def write_graph(hlg: Path, scales: Scales, output: Path) -> None:
    """Write HLG for OpenFst.

    sherpa-onnx has no scales of its own and returns words only if a final state is active: the scales of the first
    pass are applied here, and every state is made final (see `to_openfst`).

    Args:
        hlg: HLG.safetensors.
        scales: scales of the first pass.
        output: file to write.
    """
    graph = DecodingGraph.load(hlg).fsa
    write_openfst(output, to_openfst(graph, scales.lm_scale, scales.word_insertion_bonus, open_ends=True))


def fill_template(name: str, package: Package) -> str:
    """Return the text of a file with the values of the model."""
    features, encoder = package.features, package.model.encoder
    padding = ((encoder.centre + encoder.right) * encoder.subsampling + _SPARE_FRAMES) * features.frame_shift
    values = {
        "RATE": features.sampling_rate,
        "BINS": features.num_mel_bins,
        "PADDING": round(padding * features.sampling_rate),
        "SECONDS": f"{padding:.2f}",
        "SHIFT": f"{encoder.centre * encoder.frame_seconds:.2f}",
    }
    text = (_TEMPLATES / f"{name}.txt").read_text(encoding="utf-8")
    return reduce(lambda text, item: text.replace(f"@{item[0]}@", str(item[1])), values.items(), text)

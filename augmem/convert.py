"""Conversion of pickled files to safetensors files, and of graphs to icefall's format.

Unpickling can run code of the file. Therefore only this module calls `torch.load`, in a separate process that `convert`
starts as `python -m augmem.convert`. No data of the file return to the calling process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from augmem.automata import build_lexicon, load_fsa, save_fsa
from augmem.errors import UserError
from augmem.files import atomic_path
from augmem.lang import Lang, NeuralLm, NeuralLmConfig
from augmem.lazy_k2 import k2
from augmem.model import AcousticModel, ModelDescription
from augmem.streaming import upgrade_package
from augmem.tensors import SUFFIX, is_pickled
from augmem.training import save_labels, write_checkpoint


def convert(source: Path, output: Path | None = None) -> list[Path]:
    """Convert pickled files, each in a process of its own. Code in the files is run, so their origin must be trusted.

    Args:
        source: file of an earlier release or of icefall (HLG.pt, L.pt), or a folder that contains such files, such as
            an experiment or a package.
        output: safetensors file to write; None: beside the source. Not for folders.

    Returns:
        the files written. Files of a folder whose converted file exists are left out.

    Raises:
        FileNotFoundError: the source does not exist.
        UserError: the source cannot be converted, or the output exists.
    """
    if not source.is_dir():
        return [convert_file(source, output or source.with_suffix(SUFFIX))]
    if output:
        raise UserError(f"--output {output}: only for a single file; the files of {source} are converted in place")
    found = [path for path in sorted(source.rglob("*.pt")) if is_pickled(path)]
    written = [convert_file(path, path.with_suffix(SUFFIX)) for path in found if not path.with_suffix(SUFFIX).exists()]
    return written + upgrade_package(source)


def convert_file(source: Path, output: Path) -> Path:
    """Convert one pickled file in a new process; see `convert`.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the file is not one of the known formats, or is damaged.
    """
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such file")
    if not is_pickled(source):
        raise UserError(f"{source}: not a file of torch.save, so there is nothing to convert")
    if output.exists():
        raise UserError(f"{output}: exists; delete it, or choose another file by --output")
    command = [sys.executable, "-m", "augmem.convert", str(source), str(output)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    if done.returncode:
        raise UserError(
            done.stderr.strip().rpartition("\n")[2] or f"{source}: its process ended with {done.returncode}"
        )
    return output


def write_icefall(source: Path, output: Path) -> None:
    """Write a graph in icefall's format: a pickled dictionary, which `k2.Fsa.from_dict` reads.

    Args:
        source: a graph, such as HLG.safetensors, or a lang folder, from which L is built.
        output: file to write; for a lang folder L.pt, or L_disambig.pt with disambiguation symbols.

    Raises:
        FileNotFoundError: the source does not exist.
        UserError: the source is not a graph, or the output does not end in .pt.
    """
    if output.suffix != ".pt":
        raise UserError(f"--output {output}: must end in .pt, such as HLG.pt, L.pt or L_disambig.pt")
    if source.is_dir():
        graph = build_lexicon(Lang.load(source), disambiguate="disambig" in output.stem)
    else:
        graph = load_fsa(source)
    if len(graph.shape) == 3 and graph.shape[0] == 1:
        graph = graph[0]
    with atomic_path(output) as temporary:
        torch.save(graph.as_dict(), temporary)


def rewrite(source: Path, output: Path) -> None:
    """Unpickle a file in this process, and write its content to a safetensors file.

    Raises:
        UserError: the file cannot be read, or has an unknown content.
    """
    try:
        content = torch.load(source, map_location="cpu", weights_only=False)
    except Exception as error:  # of any type, because it comes from the file
        raise UserError(f"{source}: torch.load cannot read it ({error}); copy it again") from error
    if isinstance(content, Mapping):
        for names, write in _WRITERS.items():
            if names <= content.keys():
                return write(content, output)
    raise UserError(f"{source}: not a model, checkpoint, file of labels, neural language model or graph of k2")


def _write_model(content: Mapping[str, Any], output: Path) -> None:
    model = AcousticModel(ModelDescription.from_json(content["description"]))
    model.load_state_dict(content["weights"])
    model.save(output)


def _write_neural(content: Mapping[str, Any], output: Path) -> None:
    model = NeuralLm(NeuralLmConfig(**json.loads(content["config"])), content["words"])
    model.load_state_dict(content["state"])
    model.save(output)


def _write_graph(content: Mapping[str, Any], output: Path) -> None:
    save_fsa(k2.Fsa.from_dict(dict(content)), output)


_WRITERS: dict[frozenset[str], Callable[[Mapping[str, Any], Path], None]] = {
    frozenset({"description", "weights"}): _write_model,
    frozenset({"meaning", "labels"}): lambda content, output: save_labels(
        output, content["labels"], content["meaning"]
    ),
    frozenset({"config", "words", "state"}): _write_neural,
    frozenset({"model", "optimiser", "position"}): lambda content, output: write_checkpoint(output, dict(content)),
    frozenset({"arcs"}): _write_graph,
}


def main() -> int:
    """Convert the file named first on the command line to the one named second."""
    try:
        rewrite(*map(Path, sys.argv[1:]))
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""k2 automata: construction from arcs, and storage in memory-mapped safetensors files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from augmem.lazy_k2 import _k2, k2
from augmem.tensors import TensorFormat, load_tensors, refuse_pickled, save_tensors

FILE_FORMAT = TensorFormat(
    "augmem graph 1", "a k2 graph", "delete it and run the stage graphs again, or copy the package again"
)
_SPLITS, _IDS, _RAGGED = "row_splits", "row_ids", ".row_splits"  # parts of tensor names


class Arc(NamedTuple):
    """One arc of a transducer; label -1 (and output -1) marks an arc into the final state."""

    source: int
    target: int
    label: int
    output: int
    score: float = 0.0


def build_fsa(arcs: Iterable[Arc], acceptor: bool = False) -> k2.Fsa:
    """Build a k2 automaton from arcs in any order; the final state must have the highest number.

    An acceptor has no `aux_labels`; the outputs of the arcs are then ignored.
    """
    ordered = sorted(arcs)
    scores = torch.tensor([arc.score for arc in ordered], dtype=torch.float32)
    heads = torch.tensor([arc[:3] for arc in ordered], dtype=torch.int32)
    packed = torch.cat([heads, scores.view(torch.int32)[:, None]], dim=1)
    fsa = k2.Fsa(packed)
    fsa.scores = scores  # contiguous; k2 1.23.4 fails on the strided view of a single arc
    if not acceptor:
        fsa.aux_labels = torch.tensor([arc.output for arc in ordered], dtype=torch.int32)
    return fsa


def split_fsas(fsas: k2.Fsa) -> list[k2.Fsa]:
    """Split an FsaVec into its automata."""
    return [fsas[i] for i in range(fsas.shape[0])]


def count_states_and_arcs(fsa: k2.Fsa) -> tuple[int, int]:
    """Return the numbers of states and arcs of an Fsa or FsaVec."""
    states = fsa.shape[0] if len(fsa.shape) == 2 else fsa.arcs.shape().tot_size(1)
    return int(states), int(fsa.num_arcs)


def remove_outputs(fsa: k2.Fsa) -> k2.Fsa:
    """Return an acceptor with the labels and the detached scores of a transducer."""
    acceptor = k2.Fsa(fsa.arcs)
    acceptor.scores = fsa.scores.detach().clone()
    return acceptor


def save_fsa(fsa: k2.Fsa, path: Path) -> None:
    """Write an Fsa or FsaVec atomically, with its tensor, ragged and string attributes.

    Args:
        fsa: any automaton; ragged attributes must have two axes.
        path: a .safetensors file. Its metadata holds the format and the string attributes.

    Raises:
        OSError: the disk is full.
    """
    tensors = {"arcs": fsa.arcs.values(), **_shape_tensors(fsa), **_attribute_tensors(fsa)}
    texts = {name: value for name, value in fsa.named_non_tensor_attr() if isinstance(value, str)}
    save_tensors(path, FILE_FORMAT, tensors, texts)


def _shape_tensors(fsa: k2.Fsa) -> dict[str, Tensor]:
    shape = fsa.arcs.shape()
    return {
        f"{name}{axis}": getattr(shape, name)(axis) for axis in range(1, shape.num_axes) for name in (_SPLITS, _IDS)
    }


def _attribute_tensors(fsa: k2.Fsa) -> dict[str, Tensor]:
    tensors = {}
    for name, value in fsa.named_tensor_attr(include_scores=False):
        if isinstance(value, Tensor):
            tensors[f"attribute.{name}"] = value.detach()
        else:
            tensors |= {f"attribute.{name}": value.values, f"attribute.{name}{_RAGGED}": value.shape.row_splits(1)}
    tensors.pop("attribute.labels", None)  # a column of the arcs
    return tensors


def load_fsa(path: Path) -> k2.Fsa:
    """Map an automaton that `save_fsa` wrote into memory; processes that load the same file share its pages.

    Pages are copied on the first write to the tensors.

    Raises:
        FileNotFoundError: the file does not exist.
        UserError: the file does not hold an automaton.
    """
    if not path.is_file():
        refuse_pickled(path)
        raise FileNotFoundError(f"{path}: no such graph; run stages lang to graphs, or package the model again")
    tensors, texts = load_tensors(path, FILE_FORMAT)
    with FILE_FORMAT.explain(path):
        fsa = _assemble(tensors)
    for name, text in texts.items():
        setattr(fsa, name, text)
    return fsa


def _assemble(tensors: Mapping[str, Tensor]) -> k2.Fsa:
    arcs = tensors["arcs"]
    shape = _ragged_shape(tensors[f"{_SPLITS}1"], tensors[f"{_IDS}1"])
    if f"{_SPLITS}2" in tensors:
        shape = shape.compose(_ragged_shape(tensors[f"{_SPLITS}2"], tensors[f"{_IDS}2"]))
    if shape.numel() != len(arcs):
        raise ValueError(f"{len(arcs)} arcs, but row_splits for {shape.numel()}")
    fsa = k2.Fsa(_k2.RaggedArc(shape, arcs))
    for key, value in tensors.items():
        name = key.removeprefix("attribute.")
        if name != key and not key.endswith(_RAGGED):
            splits = tensors.get(f"{key}{_RAGGED}")
            setattr(fsa, name, value if splits is None else k2.RaggedTensor(_ragged_shape(splits), value))
    return fsa


def _ragged_shape(splits: Tensor, ids: Tensor | None = None) -> k2.RaggedShape:
    return k2.ragged.create_ragged_shape2(splits, ids, int(splits[-1]))

"""k2 automata: built from arcs, saved and loaded. A k2.Fsa cannot be pickled, its dictionary can."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from pickle import UnpicklingError
from typing import NamedTuple

import k2
import torch

from augmem.files import atomic_path
from augmem.tensors import save_tensors


class Arc(NamedTuple):
    """One arc of a transducer; label -1 (and output -1) marks an arc into the final state."""

    source: int
    target: int
    label: int
    output: int
    score: float = 0.0


def build_fsa(arcs: Iterable[Arc], acceptor: bool = False) -> k2.Fsa:
    """Make a k2 automaton of arcs in any order; k2 itself wants them by state, the final state last.

    An acceptor has no `aux_labels`; the arcs' outputs are then ignored.
    """
    ordered = sorted(arcs)
    scores = torch.tensor([arc.score for arc in ordered], dtype=torch.float32)
    heads = torch.tensor([arc[:3] for arc in ordered], dtype=torch.int32)
    packed = torch.cat([heads, scores.view(torch.int32)[:, None]], dim=1)
    fsa = k2.Fsa(packed)
    fsa.scores = scores  # else a strided view of the arcs; k2 1.23.4 stumbles over one of a single arc
    if not acceptor:
        fsa.aux_labels = torch.tensor([arc.output for arc in ordered], dtype=torch.int32)
    return fsa


def fsa_list(fsas: k2.Fsa) -> list[k2.Fsa]:
    """The automata of a vector of them."""
    return [fsas[i] for i in range(fsas.shape[0])]


def size_of(fsa: k2.Fsa) -> tuple[int, int]:
    """Numbers of states and arcs of one automaton or of a vector of them."""
    states = fsa.shape[0] if len(fsa.shape) == 2 else fsa.arcs.shape().tot_size(1)
    return int(states), int(fsa.num_arcs)


def save_fsa(fsa: k2.Fsa, path: Path) -> None:
    """Write an automaton with all its attributes, whole or not at all."""
    with atomic_path(path) as temporary:
        save_tensors(fsa.as_dict(), temporary)


def load_fsa(path: Path, device: str | torch.device = "cpu") -> k2.Fsa:
    """Read an automaton that `save_fsa` (or icefall) wrote.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: the file does not hold an automaton.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such graph; run the stages lang, lm and graphs first")
    try:
        return k2.Fsa.from_dict(torch.load(path, map_location=device))
    except (
        RuntimeError,
        KeyError,
        EOFError,
        AttributeError,
        TypeError,
        ValueError,
        UnpicklingError,
    ) as error:
        raise ValueError(f"{path}: not a k2 graph ({error}); delete it and run its stage again") from error


def without_outputs(fsa: k2.Fsa) -> k2.Fsa:
    """The acceptor of a transducer's labels, with its scores (detached)."""
    acceptor = k2.Fsa(fsa.arcs)
    acceptor.scores = fsa.scores.detach().clone()
    return acceptor

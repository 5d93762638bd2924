"""Forced alignments on disk: the output of every frame of every utterance, and whose outputs they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from augmem.files import atomic_path
from augmem.model import ModelDescription
from augmem.tensors import save_tensors

FILE_FORMAT = "augmem frame labels 1"


def meaning(description: ModelDescription) -> dict[str, Any]:
    """What two models must share for their outputs, frame by frame, to mean the same."""
    return {
        "units_hash": description.units_hash,
        "topology": description.topology,
        "biphones": [list(pair) for pair in description.biphones],
        "num_units": description.num_units,
        "frame_shift": description.frame_shift * description.encoder.subsampling,
    }


def write_labels(path: Path, labels: Mapping[str, Sequence[int]], description: ModelDescription) -> None:
    """Write the outputs (T,) of each utterance, whole or not at all."""
    frames = {name: torch.tensor(outputs, dtype=torch.int32) for name, outputs in labels.items()}
    with atomic_path(path) as temporary:
        content = {"format": FILE_FORMAT, "meaning": json.dumps(meaning(description)), "labels": frames}
        save_tensors(content, temporary)


def read_labels(path: Path, description: ModelDescription) -> dict[str, list[int]]:
    """Read what `write_labels` wrote, for a model of this description.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, or of a model whose outputs mean something else.
    """
    if not path.is_file():
        remedy = f"augmem align --exp EXP --part PART --output DIR --labels {path}"
        raise FileNotFoundError(f"{path}: no such alignment; {remedy}")
    try:
        content = torch.load(path, map_location="cpu")
        found, labels = json.loads(content["meaning"]), content["labels"]
    except Exception as error:
        raise ValueError(f"{path}: not a file of frame labels ({error}); augmem align writes them") from error
    wanted = meaning(description)
    other = [f"{key} {found.get(key)} instead of {value}" for key, value in wanted.items() if found.get(key) != value]
    if other:
        raise ValueError(
            f"{path}: the alignment's outputs are not this model's ({'; '.join(other)}); align with a model of the "
            "same units, topology and context"
        )
    return {name: outputs.tolist() for name, outputs in labels.items()}

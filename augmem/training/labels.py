"""Files of frame labels: the output of each frame of each utterance, from forced alignment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from augmem.errors import UserError
from augmem.files import atomic_path
from augmem.model import ModelDescription
from augmem.tensors import torch_save

FILE_FORMAT = "augmem frame labels 1"


def output_definition(description: ModelDescription) -> dict[str, Any]:
    """Return the properties that two models must share for their frame labels to be interchangeable."""
    return {
        "units_hash": description.units_hash,
        "topology": description.topology,
        "biphones": [list(pair) for pair in description.biphones],
        "num_units": description.num_units,
        "frame_shift": description.frame_shift * description.encoder.subsampling,
    }


def write_labels(path: Path, labels: Mapping[str, Sequence[int]], description: ModelDescription) -> None:
    """Write frame labels atomically.

    Args:
        path: file to write.
        labels: outputs (T,) of each utterance id, one per encoder frame.
        description: description of the model that aligned them.
    """
    frames = {name: torch.tensor(outputs, dtype=torch.int32) for name, outputs in labels.items()}
    definition = json.dumps(output_definition(description))
    with atomic_path(path) as temporary:
        torch_save({"format": FILE_FORMAT, "meaning": definition, "labels": frames}, temporary)


def read_labels(path: Path, description: ModelDescription) -> dict[str, list[int]]:
    """Read a file that `write_labels` wrote.

    Args:
        path: file to read.
        description: description of the model to train.

    Returns:
        outputs (T,) of each utterance id.

    Raises:
        FileNotFoundError: the file does not exist.
        UserError: the file has another format, or labels of a model with other outputs.
    """
    if not path.is_file():
        remedy = f"create it with augmem align --exp EXP --part PART --output DIR --labels {path}"
        raise FileNotFoundError(f"training.alignment: {path} does not exist; {remedy}")
    try:
        content = torch.load(path, map_location="cpu")
        found, labels = json.loads(content["meaning"]), content["labels"]
    except Exception as error:
        raise UserError(
            f"{path}: not a file of frame labels ({error}); create one with augmem align --labels"
        ) from error
    expected = output_definition(description)
    other = [f"{key} {found.get(key)}, expected {value}" for key, value in expected.items() if found.get(key) != value]
    if other:
        raise UserError(
            f"{path}: aligned with a model that has other outputs ({'; '.join(other)}); align with a model of the same "
            "units, topology and context"
        )
    return {name: outputs.tolist() for name, outputs in labels.items()}

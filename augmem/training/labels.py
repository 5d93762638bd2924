"""Files of frame labels: the output of each frame of each utterance, from forced alignment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from augmem.errors import UserError
from augmem.model import ModelDescription
from augmem.tensors import TensorFormat, load_tensors, save_tensors

FILE_FORMAT = TensorFormat("augmem frame labels 2", "a file of frame labels", "create one with augmem align --labels")
_IDS, _MEANING = "ids", "meaning"  # names of texts in the file
_VALUES, _LENGTHS = "values", "lengths"  # names of tensors


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
    rows = {name: torch.tensor(outputs, dtype=torch.int32) for name, outputs in labels.items()}
    save_labels(path, rows, json.dumps(output_definition(description)))


def save_labels(path: Path, labels: Mapping[str, Tensor], definition: str) -> None:
    """Write frame labels atomically.

    Args:
        path: file to write.
        labels: outputs (T,) int32 of each utterance id.
        definition: `output_definition` of the model that aligned them, as JSON.
    """
    save_tensors(
        path, FILE_FORMAT, _join(list(labels.values())), {_IDS: json.dumps(list(labels)), _MEANING: definition}
    )


def _join(rows: Sequence[Tensor]) -> dict[str, Tensor]:
    """Concatenate the labels of all utterances: one tensor per utterance would make a header of many megabytes."""
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    return {_VALUES: torch.cat(rows) if rows else torch.zeros(0, dtype=torch.int32), _LENGTHS: lengths}


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
    tensors, texts = load_tensors(path, FILE_FORMAT)
    with FILE_FORMAT.explain(path):
        found = dict(json.loads(texts[_MEANING]))
        rows = tensors[_VALUES].split(tensors[_LENGTHS].tolist())
        labels = {name: row.tolist() for name, row in zip(json.loads(texts[_IDS]), rows, strict=True)}
    expected = output_definition(description)
    other = [f"{key} {found.get(key)}, expected {value}" for key, value in expected.items() if found.get(key) != value]
    if other:
        raise UserError(
            f"{path}: aligned with a model that has other outputs ({'; '.join(other)}); align with a model of the same "
            "units, topology and context"
        )
    return labels

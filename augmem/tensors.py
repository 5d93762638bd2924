"""Tensors and texts in safetensors files.

Unlike a pickled file, such a file holds no code, and reading it allocates no more memory than its size: the header
cannot exceed 100 MB and must fit the length of the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from augmem.errors import UserError
from augmem.files import atomic_path

SUFFIX = ".safetensors"
_FORMAT = "format"  # name of a text
_TEXTS = "texts"  # the only metadata entry, since safetensors stores several in a random order
_PICKLED = re.compile(rb"PK\x03\x04|\x80[\x02-\x05]")  # start of the files of torch.save: a zip archive, or a pickle
_SYSTEM_ERROR = re.compile(r"(.*)\(os error (\d+)\)")


@dataclass(frozen=True)
class TensorFormat:
    """Format of a safetensors file.

    Args:
        name: name and version, stored in the file.
        content: what the file holds, for messages, such as "an acoustic model".
        remedy: how to make a correct file, for messages.
    """

    name: str
    content: str
    remedy: str

    @contextmanager
    def explain(self, path: Path) -> Iterator[None]:
        """Replace the errors of reading and interpreting a file by a UserError with its name and the remedy."""
        try:
            yield
        except (SafetensorError, UserError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError,
                ValueError) as error:  # fmt: skip
            reason = str(error).partition("\n")[0]
            raise UserError(f"{path}: not {self.content}, or damaged ({reason}); {self.remedy}") from error


def save_tensors(
    path: Path, file_format: TensorFormat, tensors: Mapping[str, Tensor], texts: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file atomically.

    Args:
        path: file to write.
        file_format: its format.
        tensors: tensors of any shape and device; no two may share memory.
        texts: names and values; `format` is reserved.

    Raises:
        OSError: the file cannot be written.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # save_file ignores the umask and makes the file readable by its owner only
        try:
            save_file(stored, temporary, {_TEXTS: json.dumps({_FORMAT: file_format.name, **(texts or {})})})
        except SafetensorError as error:
            if found := _SYSTEM_ERROR.search(str(error)):
                raise OSError(int(found[2]), found[1].strip(), str(path)) from error
            raise
        temporary.chmod(mode)


def load_tensors(path: Path, file_format: TensorFormat) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Map the tensors of a file into memory; processes that load the same file share its pages.

    Pages are read on first use and copied on the first write to a tensor.

    Args:
        path: file that `save_tensors` wrote.
        file_format: the format it must have.

    Returns:
        tensors and texts by name.

    Raises:
        FileNotFoundError: the file does not exist.
        UserError: the file is pickled, damaged or of another format.
    """
    _check_file(path, file_format)
    with file_format.explain(path), safe_open(path, "pt") as stream:
        texts = dict(json.loads((stream.metadata() or {}).get(_TEXTS, "{}")))
        if (found := texts.pop(_FORMAT, None)) != file_format.name:
            raise ValueError(f"format is {found!r}, expected {file_format.name!r}")
        return {name: stream.get_tensor(name) for name in stream.keys()}, texts  # noqa: SIM118 - not a dict


def _check_file(path: Path, file_format: TensorFormat) -> None:
    """Refuse a missing or pickled file."""
    refuse_pickled(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, expected {file_format.content}; {file_format.remedy}")


def refuse_pickled(path: Path) -> None:
    """Raise UserError if a file, or the one with the suffix .pt if it is missing, was written by `torch.save`.

    Files of earlier releases have that suffix.
    """
    old = path if path.is_file() else path.with_suffix(".pt")
    if is_pickled(old):
        raise UserError(
            f"{old}: pickled by torch.save, so reading it can run code that it contains; if you trust its origin, "
            f"convert it: augmem convert --trust {old}"
        )


def is_pickled(path: Path) -> bool:
    """Return whether a file exists and was written by `torch.save`; nothing is unpickled."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        head = stream.read(8)
    return bool(_PICKLED.match(head)) and any(head[4:])  # safetensors: eight bytes of a length below 100 MB


def flatten_tree(value: Any) -> tuple[dict[str, Tensor], str]:
    """Split a tree of mappings and sequences into its tensors and JSON text.

    Args:
        value: mappings with keys of text or whole numbers, lists, tuples, tensors and JSON values, nested.

    Returns:
        tensors by dotted path, and JSON text of everything else.

    Example:
        >>> import torch
        >>> tensors, text = flatten_tree({"layers": [{"bias": torch.zeros(2)}], "epochs": {3: 0.5}})
        >>> list(tensors)
        ['layers.0.bias']
        >>> unflatten_tree(tensors, text)
        {'layers': [{'bias': tensor([0., 0.])}], 'epochs': {3: 0.5}}
    """
    tensors: dict[str, Tensor] = {}
    return tensors, json.dumps(_flatten(value, "", tensors))


def _flatten(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, Mapping):
        return {"items": [[key, _flatten(item, _join(path, key), tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_flatten(item, _join(path, index), tensors) for index, item in enumerate(value)]
    return value


def _join(path: str, key: str | int) -> str:
    return f"{path}.{key}" if path else str(key)


def unflatten_tree(tensors: Mapping[str, Tensor], text: str) -> Any:
    """Reverse `flatten_tree`; tuples become lists.

    Raises:
        KeyError, TypeError, ValueError: the text is not that of `flatten_tree`, or a tensor is missing.
    """
    return _unflatten(json.loads(text), tensors)


def _unflatten(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unflatten(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    return {key: _unflatten(item, tensors) for key, item in value["items"]}

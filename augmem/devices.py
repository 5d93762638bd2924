"""Devices: their names in options, and copies to them."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import torch
from torch import Tensor

from augmem.errors import UserError

Tree = TypeVar("Tree")


def to_device(tree: Tree, device: torch.device) -> Tree:
    """Copy tensors from the CPU to a device without waiting for the copies.

    Index tables and graphs are built on the CPU and then copied: on a GPU, building them would take hundreds of
    launches and wait for results.

    Args:
        tree: tensor, named tuple or tuple of such, or another value, which is returned as it is.
        device: where they are needed.
    """
    copies: dict[int, Any] = {}  # a tensor that occurs several times is copied once

    def copied(part: Any) -> Any:
        if isinstance(part, tuple):
            parts = map(copied, part)
            return type(part)(*parts) if hasattr(part, "_fields") else tuple(parts)
        if not isinstance(part, Tensor) or part.device == device:
            return part
        if id(part) not in copies:
            source = part.pin_memory() if device.type == "cuda" else part
            copies[id(part)] = source.to(device, non_blocking=True)
        return copies[id(part)]

    return copied(tree)


def find_device(name: str, option: str) -> torch.device:
    """Return the device that an option names.

    Args:
        name: "auto" is a GPU if there is one.
        option: name of the option, for messages.

    Raises:
        UserError: it is not the name of a device, or torch finds no such GPU.

    Example:
        >>> find_device("cpu", "training.device")
        device(type='cpu')
    """
    check_device_name(name, option)
    found = torch.cuda.is_available()
    if not name.startswith("cuda"):
        return torch.device("cuda" if found and name == "auto" else "cpu")
    if not found:
        raise UserError(
            f"{option} is {name}, but torch {torch.__version__} finds no GPU; set it to auto or cpu, or "
            "install a torch for this machine's CUDA driver (augmem doctor)"
        )
    if (torch.device(name).index or 0) >= (number := torch.cuda.device_count()):
        raise UserError(f"{option} is {name}, but the last of {number} GPUs is cuda:{number - 1}")
    return torch.device(name)


def check_device_name(name: str, option: str) -> None:
    """Check the form of the name of a device.

    Raises:
        UserError: it is not the name of a device.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise UserError(f"{option} is {name}; it must be auto, cpu, cuda, or one GPU, such as cuda:0")

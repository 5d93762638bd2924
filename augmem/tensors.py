"""Save tensors."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch


def save_tensors(value: Any, path: Path) -> None:
    """Save like `torch.save`, but raise OSError when the disk is full; the writer of torch 1.13 aborts the process.

    Args:
        value: anything that `torch.save` accepts.
        path: file to write.

    Raises:
        OSError: the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(value, buffer)
    path.write_bytes(buffer.getbuffer())

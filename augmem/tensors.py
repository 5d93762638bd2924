"""Files of tensors."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch


def save_tensors(value: Any, path: Path) -> None:
    """Like torch.save, but a full disk ends in an OSError; torch's own writer ends the whole process."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    path.write_bytes(buffer.getbuffer())

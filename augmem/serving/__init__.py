"""A websocket server for streaming recognition, its web page and its client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from augmem.serving.config import ServerConfig

if TYPE_CHECKING:
    from augmem.serving.client import recognize
    from augmem.serving.server import RecognitionServer

__all__ = ["RecognitionServer", "ServerConfig", "recognize"]


def __getattr__(name: str) -> Any:
    """Import server and client on first use: options need neither torch nor k2."""
    if name == "RecognitionServer":
        from augmem.serving.server import RecognitionServer

        return RecognitionServer
    if name == "recognize":
        from augmem.serving.client import recognize

        return recognize
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

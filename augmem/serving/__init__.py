"""A websocket server around `augmem.streaming`, its web page and its client."""

from augmem.serving.client import recognise
from augmem.serving.config import ServerConfig
from augmem.serving.server import RecognitionServer

__all__ = ["RecognitionServer", "ServerConfig", "recognise"]

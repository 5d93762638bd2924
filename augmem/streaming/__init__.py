"""Live recognition: online features, the encoder step by step, a lattice that grows, and streams around them."""

from augmem.streaming.endpoint import KALDI_RULES, EndpointRule
from augmem.streaming.events import Event, Word
from augmem.streaming.features import OnlineFeatures
from augmem.streaming.package import open_package, write_package
from augmem.streaming.recogniser import Recognizer, RecognizerOptions
from augmem.streaming.resampling import Resampler
from augmem.streaming.stream import Stream

__all__ = [
    "KALDI_RULES",
    "EndpointRule",
    "Event",
    "OnlineFeatures",
    "Recognizer",
    "RecognizerOptions",
    "Resampler",
    "Stream",
    "Word",
    "open_package",
    "write_package",
]

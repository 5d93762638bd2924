"""Streaming recognition: online features, encoder and search of many streams, results as events."""

from augmem.decoding import HotwordLine, read_hotwords
from augmem.streaming.endpoint import KALDI_RULES, EndpointRule
from augmem.streaming.events import Event, Word
from augmem.streaming.features import OnlineFeatures
from augmem.streaming.formats import format_events, format_paragraphs
from augmem.streaming.options import RecognizerOptions
from augmem.streaming.package import (
    GRAMMAR_FILE,
    Package,
    PackageInfo,
    open_package,
    read_search,
    upgrade_package,
    write_package,
)
from augmem.streaming.recognizer import Recognizer
from augmem.streaming.resampling import SAMPLE_RATES, Resampler
from augmem.streaming.stream import Stream

__all__ = [
    "GRAMMAR_FILE",
    "KALDI_RULES",
    "SAMPLE_RATES",
    "EndpointRule",
    "Event",
    "HotwordLine",
    "OnlineFeatures",
    "Package",
    "PackageInfo",
    "Recognizer",
    "RecognizerOptions",
    "Resampler",
    "Stream",
    "Word",
    "format_events",
    "format_paragraphs",
    "open_package",
    "read_hotwords",
    "read_search",
    "upgrade_package",
    "write_package",
]

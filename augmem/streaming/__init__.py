"""Streaming recognition: online features, encoder and search of many streams, results as events.

Each name is imported when it is first used, so that features and events need neither torch nor k2.
"""

# ruff: noqa: I001 - one import per module, of names that are exported again

from __future__ import annotations

from typing import TYPE_CHECKING

from augmem.lazy_imports import lazy_names

if TYPE_CHECKING:  # for type checkers and editors
    from augmem.decoding import read_hotwords as read_hotwords
    from augmem.hotword_line import HotwordLine as HotwordLine
    from augmem.streaming.endpoint import KALDI_RULES as KALDI_RULES, EndpointRule as EndpointRule
    from augmem.streaming.events import Event as Event, Word as Word
    from augmem.streaming.features import OnlineFeatures as OnlineFeatures
    from augmem.streaming.formats import format_events as format_events, format_paragraphs as format_paragraphs
    from augmem.streaming.options import RecognizerOptions as RecognizerOptions
    from augmem.streaming.package import (
        GRAMMAR_FILE as GRAMMAR_FILE,
        Package as Package,
        PackageInfo as PackageInfo,
        open_package as open_package,
        read_search as read_search,
        upgrade_package as upgrade_package,
        write_package as write_package,
    )
    from augmem.streaming.recognizer import Recognizer as Recognizer
    from augmem.streaming.resampling import Resampler as Resampler
    from augmem.streaming.speech_gate import SpeechGate as SpeechGate, load_detector as load_detector
    from augmem.streaming.stream import Stream as Stream

_NAMES = {
    "augmem.decoding": ("read_hotwords",),
    "augmem.hotword_line": ("HotwordLine",),
    "augmem.streaming.endpoint": ("KALDI_RULES", "EndpointRule"),
    "augmem.streaming.events": ("Event", "Word"),
    "augmem.streaming.features": ("OnlineFeatures",),
    "augmem.streaming.formats": ("format_events", "format_paragraphs"),
    "augmem.streaming.options": ("RecognizerOptions",),
    "augmem.streaming.package": (
        "GRAMMAR_FILE", "Package", "PackageInfo", "open_package", "read_search", "upgrade_package", "write_package",
    ),
    "augmem.streaming.recognizer": ("Recognizer",),
    "augmem.streaming.resampling": ("Resampler",),
    "augmem.streaming.speech_gate": ("SpeechGate", "load_detector"),
    "augmem.streaming.stream": ("Stream",),
}  # fmt: skip
__all__, __getattr__ = lazy_names(__name__, _NAMES)

"""Options of streaming recognition."""

from __future__ import annotations

from dataclasses import dataclass

from augmem.decoding import SearchConfig
from augmem.errors import check_option
from augmem.hotword_line import HotwordLine
from augmem.streaming.endpoint import KALDI_RULES, EndpointRule


@dataclass(frozen=True)
class RecognizerOptions:
    """Options of streaming recognition.

    Args:
        search: beams and n-best lists; None selects those of the package.
        rules: endpoint rules; without any, a segment ends only with its stream or at `max_segment`.
        max_segment: maximum duration of a segment in seconds; a longer one is cut at a word boundary.
        memory_reset_segments: number of encoder segments after which the memory bank is emptied, so that neither cost
            nor accuracy depends on the length of a stream. Until the first reset (82 s with segments of 1.28 s) the
            scores equal those of offline decoding. Kinds of memory that are stable without resets are not emptied.
        hotwords: hotwords of all streams without hotwords of their own.
        partial_interval: seconds of audio after which a partial result is made. Where it is less than the centre of an
            encoder segment, the part of the segment so far is scored provisionally, which does not change final
            results. Streams with hotwords have partial results of complete encoder segments only.

    Raises:
        UserError: a value out of range.

    Example:
        >>> options = RecognizerOptions(max_segment=10.0, hotwords=(HotwordLine("names", "Ada Lovelace", 3.0),))
        >>> options.partial_interval
        0.32
    """

    search: SearchConfig | None = None
    rules: tuple[EndpointRule, ...] = KALDI_RULES
    max_segment: float = 20.0
    memory_reset_segments: int = 64
    hotwords: tuple[HotwordLine, ...] = ()
    partial_interval: float = 0.32

    def __post_init__(self) -> None:
        for name in ("max_segment", "partial_interval"):
            check_option(name, getattr(self, name), getattr(self, name) > 0, "be more than 0 seconds")
        resets = self.memory_reset_segments
        check_option("memory_reset_segments", resets, resets >= 1, "be at least 1 segment")

    @classmethod
    def one_segment(
        cls, search: SearchConfig | None = None, hotwords: tuple[HotwordLine, ...] = ()
    ) -> RecognizerOptions:
        """Return options without endpoints: a stream is one segment, as in offline decoding."""
        return cls(search, rules=(), max_segment=float("inf"), hotwords=hotwords, partial_interval=float("inf"))

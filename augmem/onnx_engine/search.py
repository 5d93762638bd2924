"""Search of the scores of one segment of a stream, by kaldi-decoder's FasterDecoder: best path only.

Letters: T frames, V outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import kaldi_decoder
import kaldifst
import numpy as np
from numpy.typing import NDArray

from augmem.errors import check_option
from augmem.streaming.endpoint import KALDI_RULES, EndpointRule

Float32Array = NDArray[np.float32]


@dataclass(frozen=True)
class EngineOptions:
    """Options of recognition.

    Args:
        search_beam: beam of the search in nats; smaller is faster. None: that of the package.
        max_active: maximum number of graph states in each frame; fewer is faster. None: that of the package.
        rules: endpoint rules; without any, a segment ends only with its stream or at `max_segment`.
        max_segment: maximum duration of a segment in seconds; a longer one is cut at a word boundary.

    Raises:
        UserError: a value out of range.

    Example:
        >>> EngineOptions(search_beam=12.0, max_segment=10.0).one_segment().max_segment
        inf
    """

    search_beam: float | None = None
    max_active: int | None = None
    rules: tuple[EndpointRule, ...] = KALDI_RULES
    max_segment: float = 20.0

    def one_segment(self) -> EngineOptions:
        """Return options without endpoints: a stream is one segment."""
        return replace(self, rules=(), max_segment=math.inf)

    def __post_init__(self) -> None:
        beam, active = self.search_beam, self.max_active
        check_option("search_beam", beam, beam is None or beam > 0, "be above 0")
        check_option("max_active", active, active is None or active >= 1, "be at least 1")
        check_option("max_segment", self.max_segment, self.max_segment > 0, "be more than 0 seconds")


@dataclass(frozen=True)
class SpokenWord:
    """A word of a path: its number in the graph, and its first frame and end in the segment."""

    word: int
    begin: int
    end: int


@dataclass(frozen=True)
class SearchGraph:
    """Decoding graph, silent outputs and beams of the search.

    Args:
        fst: HLG of `augmem.openfst.build_openfst_hlg`.
        silent: outputs of blank and silence.
        options: beams of the search.
    """

    fst: kaldifst.StdConstFst
    silent: frozenset[int]
    options: kaldi_decoder.FasterDecoderOptions


@dataclass
class SegmentSearch:
    """The search of one segment.

    Attributes:
        graph: the decoding graph.
        scores: (T, V) searched so far, as chunks.
    """

    graph: SearchGraph
    scores: list[Float32Array] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._decoder = kaldi_decoder.FasterDecoder(self.graph.fst, self.graph.options)
        self._decoder.init_decoding()

    @property
    def num_frames(self) -> int:
        """Number of frames searched so far."""
        return int(self._decoder.num_frames_decoded())

    def advance(self, scores: Float32Array) -> None:
        """Search more frames (T, V)."""
        if len(scores):
            twice = np.concatenate([scores, scores], axis=1)  # the second for the labels of first frames of words
            self._decoder.advance_decoding(kaldi_decoder.DecodableCtc(twice, self.num_frames))
            self.scores.append(scores)

    def words(self, final: bool) -> list[SpokenWord]:
        """Return the words of the best path; if `final`, of the best complete path if there is one."""
        found, path = self._best(final)
        if not found or not self.scores:
            return []
        return list(path_words(iterate_arcs(path), self.scores[0].shape[1], self.graph.silent))

    def relative_cost(self) -> float:
        """Return the cost of the best complete path minus that of the best path, in nats; inf if none is complete."""
        if not self.num_frames or not self._decoder.reached_final():
            return math.inf
        costs = [path_cost(self._best(final)[1]) for final in (True, False)]
        return costs[0] - costs[1]

    def _best(self, final: bool) -> tuple[bool, kaldifst.Lattice]:
        return self._decoder.get_best_path(use_final_probs=final)


def path_cost(path: kaldifst.Lattice) -> float:
    """Return the cost of a path."""
    weight = kaldifst.get_linear_symbol_sequence(path)[3]
    return float(weight.value1 + weight.value2)


def iterate_arcs(path: kaldifst.Lattice) -> Iterator[tuple[int, int]]:
    """Yield input and output label of each arc of a path, in order."""
    arcs = {}
    for line in str(path).splitlines():
        fields = line.split()
        if len(fields) >= 4:  # others are final states
            arcs[int(fields[0])] = (int(fields[1]), int(fields[2]), int(fields[3]))
    state = int(path.start)
    while state in arcs:
        state, label, word = arcs[state]
        yield label, word


def path_words(arcs: Iterable[tuple[int, int]], outputs: int, silent: frozenset[int]) -> Iterator[SpokenWord]:
    """Yield the words of a path.

    Args:
        arcs: input and output labels, see `augmem.openfst.hlg`; an input label is an output of the model plus one.
        outputs: number of outputs V.
        silent: outputs of blank and silence.

    Example (two words, the first emitted in its second frame, with a blank between them):
        >>> list(path_words([(4, 0), (2, 7), (1, 0), (5, 9), (3, 0)], 3, frozenset({0})))
        [SpokenWord(word=7, begin=0, end=2), SpokenWord(word=9, begin=3, end=5)]
    """
    frame, begin, end, word = 0, 0, 0, 0
    for label, output in arcs:
        if label > outputs:
            if word:
                yield SpokenWord(word, begin, max(end, begin + 1))
            begin, word = frame, 0
        word = word or output
        if label:
            frame += 1
            end = end if label - 1 in silent else frame
    if word:
        yield SpokenWord(word, begin, max(end, begin + 1))


def time_words(words: Sequence[SpokenWord]) -> list[tuple[int, int]]:
    """Return first frame and end of each word."""
    return [(word.begin, word.end) for word in words]

"""Search of the scores of streams, with partial results, endpoints and final results.

Letters: T frames, V units.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from augmem.decoding import (
    DecodingGraph,
    GrowingLattice,
    Hotwords,
    Ints,
    Lattice,
    OnlineSearch,
    Scales,
    SearchConfig,
    WordFrames,
    best_path,
    best_word_sequences,
    find_lattices,
    first_pass_score,
    path_confidences,
    posteriors,
    spoken_frames,
    word_confidences,
    word_frames,
    words_on,
)
from augmem.lang import Lang
from augmem.model import AcousticModel
from augmem.streaming.endpoint import cut_position, is_endpoint, relative_cost
from augmem.streaming.events import Event, Word
from augmem.streaming.options import RecognizerOptions
from augmem.streaming.stream import Stream

logger = logging.getLogger(__name__)

# Frames that are not searched until more follow: a segment ends with a last chunk, which must not be empty.
HELD_BACK = 1


class StreamDecoder:
    """Searches the scores of streams and divides streams into segments.

    Args:
        model: provides the times of frames.
        lang: provides words and units.
        graph: the decoding graph.
        scales: weights of the first pass.
        options: endpoint rules and the maximum duration of a segment.
        search: beams and n-best lists.
    """

    def __init__(
        self, model: AcousticModel, lang: Lang, graph: DecodingGraph, scales: Scales,
        options: RecognizerOptions, search: SearchConfig,
    ) -> None:  # fmt: skip
        self.model, self.lang, self.graph, self.scales = model, lang, graph, scales
        self.options, self.config = options, search
        self.search = OnlineSearch(graph, search)
        self.silent = lang.silent_ids

    def advance(self, streams: Iterable[Stream]) -> None:
        """Search the new scores of running streams; emit partial results, and final ones where a segment ends."""
        for group in group_by_length(streams, longer_than=HELD_BACK):
            for stream, growing in self._search(group, keep=HELD_BACK):
                self._update(stream, growing)

    def finish(self, streams: Iterable[Stream]) -> None:
        """Search all remaining scores and end the current segment of each stream."""
        for group in group_by_length(streams, longer_than=0):
            for stream, growing in self._search(group, keep=0):
                self._end_segment(stream, growing.lattice)

    def find_words(self, scores: Tensor, hotwords: Hotwords) -> list[str]:
        """Return the words of a whole utterance's scores (T, V), by offline search."""
        lattice = hotwords.apply(self._offline_lattice(scores), self.lang.word_of)
        return [self.lang.word_of[word.word] for word, _ in self._best_words(lattice)]

    def _search(self, streams: Sequence[Stream], keep: int) -> list[tuple[Stream, GrowingLattice]]:
        """Search streams with equally many new scores, all but the last `keep` of them."""
        chunks = [stream.take_scores(keep) for stream in streams]
        found = self.search.advance([stream.search for stream in streams], chunks, final=keep == 0)
        return list(zip(streams, found, strict=True))

    def _offline_lattice(self, scores: Tensor) -> Lattice:
        return find_lattices(scores[None], torch.tensor([len(scores)]), self.graph, self.config)[0].lattice

    def _update(self, stream: Stream, growing: GrowingLattice) -> None:
        """Emit a partial result; end the segment at an endpoint, or cut it at its maximum duration."""
        lattice = stream.hotwords.apply(growing.lattice, self.lang.word_of)
        if lattice.is_empty:
            self._skip(stream, lattice)
            return
        path = best_path(lattice)
        spoken = spoken_frames(lattice, path, self.silent)
        if not stream.is_finishing:  # otherwise the final result follows at once
            self._emit_partial(stream, lattice, path, spoken)
        if self._is_endpoint(growing, spoken):
            self.finish([stream])
        elif lattice.num_frames * self.model.frame_shift >= self.options.max_segment:
            self._cut(stream, cut_position(spoken, lattice.num_frames))

    def _skip(self, stream: Stream, lattice: Lattice) -> None:
        """End a segment whose search has no path left, for example because scores are NaN."""
        logger.warning("segment %d: no path through the scores; beginning a new segment", stream.segment)
        self._end_segment(stream, lattice)
        stream.segment_begin += len(stream.take_scores())

    def _is_endpoint(self, growing: GrowingLattice, spoken: Sequence[tuple[int, int]]) -> bool:
        frames = growing.lattice.num_frames
        silence = (frames - (spoken[-1][1] if spoken else 0)) * self.model.frame_shift
        duration = frames * self.model.frame_shift
        return is_endpoint(self.options.rules, bool(spoken), silence, relative_cost(growing), duration)

    def _emit_partial(self, stream: Stream, lattice: Lattice, path: Ints, spoken: Sequence[tuple[int, int]]) -> None:
        """Emit the words of the best path if they have changed."""
        words = word_frames(words_on(lattice, path), spoken)
        if stream.is_new_partial(" ".join(self.lang.word_of[word.word] for word in words)):
            confidences = path_confidences(lattice, path, self.scales.posterior_scale)
            stream.emit_partial(
                self._event("partial", stream, list(zip(words, confidences, strict=True)), lattice.num_frames)
            )

    def _end_segment(self, stream: Stream, lattice: Lattice) -> None:
        words = self._best_words(stream.hotwords.apply(lattice, self.lang.word_of))
        frames = lattice.num_frames
        stream.end_segment(self._event("final", stream, words, frames), frames)

    def _cut(self, stream: Stream, frame: int) -> None:
        """End the segment at an earlier frame, between words; search the scores after it again."""
        scores = torch.cat(stream.search.log_probs)
        self._end_segment(stream, self._offline_lattice(scores[:frame]))
        if rest := len(scores) - frame:
            self.search.advance([stream.search], [scores[-rest:]], final=False)

    def _best_words(self, lattice: Lattice) -> list[tuple[WordFrames, float]]:
        """Return the best words of a lattice with their confidences, chosen as in offline decoding."""
        paths = best_word_sequences(lattice, self.config, self.silent)
        if not paths:
            return []
        scores = np.array([first_pass_score(path, self.scales, self.config.acoustic_scale) for path in paths])
        best = int(scores.argmax())
        words = [tuple(self.lang.word_of[word] for word in path.words) for path in paths]
        confidences = word_confidences(words[best], words, posteriors(scores, self.scales.posterior_scale))
        return list(zip(paths[best].times, confidences, strict=True))

    def _event(
        self, kind: Literal["partial", "final"], stream: Stream, found: Sequence[tuple[WordFrames, float]], frames: int
    ) -> Event:
        begin, time_of = stream.segment_begin, self.model.time_of
        words = tuple(
            Word(
                self.lang.word_of[word.word], time_of(begin + word.begin), time_of(begin + word.end),
                round(confidence, 4),
            )
            for word, confidence in found
        )  # fmt: skip
        return Event(kind, stream.segment, words, time_of(begin + frames))


def group_by_length(streams: Iterable[Stream], longer_than: int) -> Iterator[list[Stream]]:
    """Yield groups of streams with equally many scores, as k2 requires of one search."""
    groups: dict[int, list[Stream]] = defaultdict(list)
    for stream in streams:
        groups[len(stream.scores)].append(stream)
    yield from (group for length, group in groups.items() if length > longer_than)

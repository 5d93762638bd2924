"""Search of the scores of streams, with partial results, endpoints and final results.

Letters: T frames, V units.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from augmem.decoding import (
    BeamSearch,
    BestPath,
    DecodingGraph,
    Hotwords,
    Lattice,
    Scales,
    SearchConfig,
    SearchState,
    WordFrames,
    best_word_sequences,
    count_stable_words,
    current_best_path,
    find_lattices,
    first_pass_score,
    lattice_best_path,
    posteriors,
    word_confidences,
)
from augmem.lang import Lang
from augmem.model import AcousticModel
from augmem.streaming.endpoint import cut_position, is_endpoint
from augmem.streaming.events import Event, Word
from augmem.streaming.options import RecognizerOptions
from augmem.streaming.stream import Stream

logger = logging.getLogger(__name__)

# Limits of the search of provisional scores, which only finds the best path of a few frames.
PROVISIONAL_BEAM, PROVISIONAL_STATES = 10.0, 1500


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
        self.search = BeamSearch(graph.arrays, search)
        self.provisional = BeamSearch(graph.arrays, narrow(search))
        self.silent = lang.silent_ids

    def advance(self, streams: Iterable[Stream]) -> None:
        """Search the new scores of running streams; emit partial results, and final ones where a segment ends."""
        for stream in streams:
            if len(stream.scores):
                self._search(stream)
                self._update(stream)

    def preview(self, stream: Stream, scores: Tensor) -> None:
        """Emit a partial result that includes provisional scores (T, V) of the frames that follow the searched ones."""
        if stream.search.is_lost or stream.hotwords:
            return
        state = stream.continue_preview()
        new = scores[state.num_frames - stream.search.num_frames :]
        if len(new):
            self.provisional.extend(state, new)
            self._emit_partial(stream, state, current_best_path(self.graph.arrays, state, self.silent))

    def finish(self, streams: Iterable[Stream]) -> None:
        """Search all remaining scores and end the current segment of each stream."""
        for stream in streams:
            if len(stream.scores):
                self._search(stream)
            if stream.search.num_frames:
                self._end_segment(stream)

    def find_words(self, scores: Tensor, hotwords: Hotwords) -> list[str]:
        """Return the words of a whole utterance's scores (T, V), by offline search."""
        lattice = hotwords.apply(self._offline_lattice(scores), self.lang.word_of)
        return [self.lang.word_of[word.word] for word, _ in self._best_words(lattice)]

    def _search(self, stream: Stream) -> None:
        self.search.advance(stream.search, stream.take_scores())

    def _offline_lattice(self, scores: Tensor) -> Lattice:
        return find_lattices(scores[None], torch.tensor([len(scores)]), self.graph, self.config)[0].lattice

    def _update(self, stream: Stream) -> None:
        """Emit a partial result; end the segment at an endpoint, or cut it at its maximum duration."""
        state = stream.search
        if state.is_lost:
            logger.warning("segment %d: no path through the scores; beginning a new segment", stream.segment)
            self._end_segment(stream)
            return
        path = self._best_path(stream)
        if not stream.is_finishing:  # otherwise the final result follows at once
            count_stable_words(self.graph.arrays, state)
            self._emit_partial(stream, state, path)
        if self._is_endpoint(state, path):
            self._end_segment(stream)
        elif state.num_frames * self.model.frame_shift >= self.options.max_segment:
            self._cut(stream, cut_position(path.spoken, state.num_frames))

    def _best_path(self, stream: Stream) -> BestPath:
        """Return the best path so far; bonuses of hotwords need the whole lattice."""
        path = current_best_path(self.graph.arrays, stream.search, self.silent)
        if not stream.hotwords:
            return path
        lattice = self.search.lattice(stream.search, open_end=True)
        return lattice_best_path(stream.hotwords.apply(lattice, self.lang.word_of), self.silent)

    def _is_endpoint(self, state: SearchState, path: BestPath) -> bool:
        frames, spoken = state.num_frames, path.spoken
        silence = (frames - (spoken[-1][1] if spoken else 0)) * self.model.frame_shift
        duration = frames * self.model.frame_shift
        return is_endpoint(self.options.rules, bool(spoken), silence, self.search.relative_cost(state), duration)

    def _emit_partial(self, stream: Stream, state: SearchState, path: BestPath) -> None:
        """Emit the words of the best path if they have changed, or if more of them will not change."""
        words = [(word, None) for word in path.words]
        event = self._event("partial", stream, words, state.num_frames, stream.search.stable_words)
        if stream.is_new_partial(event):
            stream.emit_partial(event)

    def _end_segment(self, stream: Stream, num_frames: int | None = None) -> None:
        """Emit the final result of the segment, or of its first frames."""
        lattice = stream.hotwords.apply(self.search.lattice(stream.search, num_frames), self.lang.word_of)
        words = self._best_words(lattice)
        event = self._event("final", stream, words, lattice.num_frames, len(words))
        stream.end_segment(event, lattice.num_frames)

    def _cut(self, stream: Stream, frame: int) -> None:
        """End the segment at an earlier frame, between words; search the scores after it again."""
        scores = torch.cat(stream.search.log_probs)[frame:]
        self._end_segment(stream, frame)
        if len(scores):
            self.search.advance(stream.search, scores)

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
        self, kind: Literal["partial", "final"], stream: Stream, found: Sequence[tuple[WordFrames, float | None]],
        frames: int, stable: int,
    ) -> Event:  # fmt: skip
        begin, time_of = stream.segment_begin, self.model.time_of
        words = tuple(
            Word(
                self.lang.word_of[word.word], time_of(begin + word.begin), time_of(begin + word.end),
                None if confidence is None else round(confidence, 4),
            )
            for word, confidence in found
        )  # fmt: skip
        return Event(kind, stream.segment, words, time_of(begin + frames), stable)


def narrow(search: SearchConfig) -> SearchConfig:
    """Return the limits of the search of provisional scores."""
    active = min(search.max_active, PROVISIONAL_STATES)
    beam = min(search.search_beam, PROVISIONAL_BEAM)
    return replace(search, search_beam=beam, max_active=active, min_active=min(search.min_active, active))

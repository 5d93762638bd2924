"""Live recognition: one `Recognizer` for all, one `Stream` for each speaker, events as words become known.

    recognizer = Recognizer.load(package)
    stream = recognizer.stream()
    stream.accept_waveform(samples, 44100)      # any packet size, any rate
    recognizer.step([stream])                   # or many streams in lockstep
    for event in stream.events(): ...
    stream.finish()                             # then step until stream.is_done

What a stream says in the end is what offline decoding says of the same audio: features, encoder and lattice are exact
(see their modules), and the answer is chosen from the lattice in the same way.

Letters: T frames, F features, V units.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from augmem.decoding import (
    Lattice,
    SearchConfig,
    best_path,
    best_word_sequences,
    find_lattices,
    first_pass_score,
    words_on,
)
from augmem.decoding.lattice import Ints, backward_best, forward_best
from augmem.decoding.online import Growing, OnlineSearch, StreamSearch
from augmem.decoding.posteriors import confidences_in_place, posteriors, word_confidences
from augmem.decoding.search import DecodingGraph
from augmem.decoding.times import WordFrames, spoken_frames, word_frames
from augmem.encoder import forget_if_full, select_streams, stack_states
from augmem.graph import Origin, context_hash
from augmem.streaming.endpoint import KALDI_RULES, EndpointRule, endpoint
from augmem.streaming.events import Event, Word
from augmem.streaming.features import OnlineFeatures
from augmem.streaming.package import open_package
from augmem.streaming.stream import Stream

logger = logging.getLogger(__name__)

_PAUSE = 4  # frames without a sound at the end of what has been heard that are no part of a word
_HELD_BACK = 1  # frames not yet searched, so that there is always a last chunk to close a segment with


@dataclass(frozen=True)
class RecognizerOptions:
    """How streams are recognised.

    Args:
        decoding: beams and n-best lists.
        rules: when a segment is over; none: never before the stream is.
        max_segment: seconds after which a segment is cut at its best word boundary, whatever the rules say.
        memory_slots: slots with which a stream's memory is full and begins anew, so that an hour costs per second what
            a minute does, and is heard as well (see `forget_if_full`). The first 64 segments (82 s) are then exact.
    """

    decoding: SearchConfig = field(default_factory=SearchConfig)
    rules: tuple[EndpointRule, ...] = KALDI_RULES
    max_segment: float = 20.0
    memory_slots: int = 64

    def __post_init__(self) -> None:
        if not self.max_segment > 0:
            raise ValueError(f"max_segment is {self.max_segment!r}; it must be more than 0 seconds")
        if self.memory_slots < 1:
            raise ValueError(f"memory_slots is {self.memory_slots!r}; it must be at least 1")


class Recognizer:
    """Model, graph and options: holds nothing of any stream, so one serves all.

    Args:
        package: see `open_package`.
        options: beams, endpoints.
    Raises:
        ValueError: the model's encoder cannot stream, or the package is damaged.
    """

    def __init__(self, package: Path, options: RecognizerOptions | None = None) -> None:
        self.options = options or RecognizerOptions()
        content = open_package(package)
        self.model, self.lang, self.scales = content.model, content.lang, content.scales
        self.feature_config = content.features
        try:
            self.fresh_state = self.model.init_state(1)
        except NotImplementedError as error:
            raise ValueError(f"{package}: {error}; train an encoder that can, such as augmented_memory") from error
        described = self.model.description
        self.graph = DecodingGraph.load(
            content.graph, Origin(described.lang_hash, described.topology, context_hash(described.biphones))
        )
        self.graph.check_units(described.num_units)
        self.search = OnlineSearch(self.graph, self.options.decoding)
        self.silent = {0} | {index for unit, index in self.lang.tokens.items() if unit == "SIL"}

    @classmethod
    def load(cls, package: Path, options: RecognizerOptions | None = None) -> Recognizer:
        """Open a packaged model (`augmem package`)."""
        return cls(package, options)

    @property
    def sample_rate(self) -> int:
        """Hz of the audio the model hears; other rates are resampled to it."""
        return self.feature_config.sampling_rate

    @property
    def latency(self) -> float:
        """Seconds a frame waits on average before the model can have seen all it wants to see."""
        return self.model.encoder.average_latency

    @property
    def chunk_frames(self) -> int:
        """Feature frames of one step."""
        return self.model.encoder.chunk_frames

    @property
    def chunk_duration(self) -> float:
        """Seconds of audio that one step decodes."""
        return self.chunk_frames * self.feature_config.frame_shift

    def stream(self) -> Stream:
        """A new stream."""
        return Stream(self.feature_config, self.fresh_state, self.model.description.num_units)

    def step(self, streams: Sequence[Stream]) -> int:
        """Advance every stream that has a segment's worth of audio or is finishing; say how many did."""
        with torch.no_grad():
            return self._step(streams)

    def _step(self, streams: Sequence[Stream]) -> int:
        ready = [stream for stream in streams if stream.is_ready(self.chunk_frames)]
        full = [stream for stream in ready if len(stream.frames) >= self.chunk_frames]
        last = [stream for stream in ready if len(stream.frames) < self.chunk_frames]
        self._encode(full)
        for stream in last:
            self._encode_rest(stream)
        self._search([stream for stream in full if len(stream.held) > _HELD_BACK], closing=False)
        self._search([stream for stream in last if len(stream.held)], closing=True)
        for stream in last:
            stream.is_done = True
        return len(ready)

    def finish(self, streams: Sequence[Stream]) -> None:
        """Finish streams and step until all of them are done."""
        for stream in streams:
            stream.finish()
        while self.step(streams):
            pass

    def transcribe(self, packets: Iterable[NDArray[Any]], rate: int) -> list[Event]:
        """All final events of one stream."""
        stream, events = self.stream(), []
        for packet in packets:
            stream.accept_waveform(packet, rate)
            while self.step([stream]):
                pass
            events += stream.events()
        self.finish([stream])
        return [event for event in events + stream.events() if event.kind == "final"]

    def offline(self, samples: NDArray[np.float32], rate: int) -> str:
        """What decoding the whole recording (n,) at once gives, by the parallel form of encoder and search."""
        features = OnlineFeatures(self.feature_config)
        features.accept(samples, rate)
        features.finish()
        frames = torch.from_numpy(features.take())
        if not len(frames):
            return ""
        with torch.no_grad():
            scores, lengths = self.model(frames[None], torch.tensor([len(frames)]))
        found = find_lattices(scores, lengths, self.graph, self.options.decoding)[0]
        return " ".join(self.lang.word_of[word.word] for word, _ in self._answer(found.lattice))

    def _encode(self, streams: Sequence[Stream]) -> None:
        """One chunk of each stream, all at once."""
        if not streams:
            return
        size = self.chunk_frames
        chunk = torch.stack([stream.frames[:size] for stream in streams])
        scores, state = self.model.step(chunk, stack_states([stream.state for stream in streams]), False)
        for number, (stream, row, count) in enumerate(zip(streams, scores, state["emitted"].tolist(), strict=True)):
            stream.frames = stream.frames[size:]
            stream.state = forget_if_full(select_streams(state, torch.tensor([number])), self.options.memory_slots)
            stream.held = torch.cat([stream.held, row[:count]])

    def _encode_rest(self, stream: Stream) -> None:
        """What is left of a finishing stream; its length is its own."""
        scores, stream.state = self.model.step(stream.frames[None], stream.state, True)
        stream.frames = stream.frames[:0]
        stream.held = torch.cat([stream.held, scores[0]])

    def _search(self, streams: Sequence[Stream], closing: bool) -> None:
        """Search what is new in each stream; k2 wants chunks of one length, so streams are grouped by it."""
        groups: dict[int, list[Stream]] = defaultdict(list)
        for stream in streams:
            groups[len(stream.held)].append(stream)
        keep = 0 if closing else _HELD_BACK
        for length, group in groups.items():
            chunks = [stream.held[: length - keep] for stream in group]
            found = self.search.advance([stream.search for stream in group], chunks, closing)
            for stream, growing in zip(group, found, strict=True):
                stream.held = stream.held[length - keep :]
                if closing:
                    self._close(stream, growing.lattice)
                else:
                    self._look(stream, growing)

    def _look(self, stream: Stream, growing: Growing) -> None:
        """Tell what is heard so far; end the segment if it is over, cut it if it is long."""
        lattice = growing.lattice
        if lattice.is_empty:  # as with scores that are no numbers: whatever comes, this search will find nothing more
            logger.warning("segment %d: no path through the model's scores; searching anew", stream.segment)
            self._close(stream, lattice)
            stream.segment_begin += len(stream.held)
            stream.held = stream.held[:0]
            return
        path = best_path(lattice)
        spoken = spoken_frames(lattice, path, self.silent)
        if not stream.finishing:  # then the final words are about to come
            self._tell_partial(stream, lattice, path, spoken)
        length = lattice.num_frames * self.model.frame_shift
        heard = spoken[-1][1] if spoken else 0
        silence = (lattice.num_frames - heard) * self.model.frame_shift
        if endpoint(self.options.rules, bool(spoken), silence, relative_cost(growing), length):
            found = self.search.advance([stream.search], [stream.held], True)
            stream.held = stream.held[:0]
            self._close(stream, found[0].lattice)
        elif length >= self.options.max_segment:
            self._cut(stream, boundary(spoken, lattice.num_frames))

    def _tell_partial(self, stream: Stream, lattice: Lattice, path: Ints, spoken: Sequence[tuple[int, int]]) -> None:
        """Tell the words of the best path, if they are others than before."""
        words = word_frames(words_on(lattice, path), spoken)
        if stream.would_tell(" ".join(self.lang.word_of[word.word] for word in words)):
            sure = confidences_in_place(lattice, path, self.scales.posterior_scale)
            stream.tell(self._event("partial", stream, list(zip(words, sure, strict=True)), lattice.num_frames))

    def _close(self, stream: Stream, lattice: Lattice) -> None:
        """End the segment with the best words of its lattice, and begin the next."""
        stream.tell(self._event("final", stream, self._answer(lattice), lattice.num_frames))
        stream.segment += 1
        stream.segment_begin += lattice.num_frames
        stream.search = StreamSearch()

    def _cut(self, stream: Stream, frame: int) -> None:
        """End the segment at an earlier frame, where no word is cut; what comes after is searched anew."""
        scores = torch.cat(stream.search.log_probs)
        first, rest = scores[:frame], scores[frame:]
        found = find_lattices(first[None], torch.tensor([frame]), self.graph, self.options.decoding)[0]
        self._close(stream, found.lattice)
        if len(rest):
            self.search.advance([stream.search], [rest], False)

    def _answer(self, lattice: Lattice) -> list[tuple[WordFrames, float]]:
        """The words that offline decoding would choose from this lattice, with their probabilities."""
        config = self.options.decoding
        paths = best_word_sequences(lattice, config, self.silent)
        if not paths:
            return []
        scores = np.array([first_pass_score(path, self.scales, config.acoustic_scale) for path in paths])
        winner = paths[int(scores.argmax())]
        spelt = [tuple(self.lang.word_of[word] for word in path.words) for path in paths]
        sure = word_confidences(spelt[int(scores.argmax())], spelt, posteriors(scores, self.scales.posterior_scale))
        return list(zip(winner.times, sure, strict=True))

    def _event(
        self, kind: Literal["partial", "final"], stream: Stream, found: Sequence[tuple[WordFrames, float]], frames: int
    ) -> Event:
        time_of, begin = self.model.time_of, stream.segment_begin
        words = tuple(
            Word(
                self.lang.word_of[word.word],
                time_of(begin + word.begin),
                time_of(begin + word.end),
                round(confidence, 4),
            )
            for word, confidence in found
        )
        return Event(kind, stream.segment, words, time_of(begin + frames))


def relative_cost(growing: Growing) -> float:
    """Nats by which the best complete path is worse than the best of any kind."""
    lattice = growing.lattice
    ahead = backward_best(lattice)
    ends = np.flatnonzero(growing.complete)
    if len(ends) == 0:
        return float("inf")
    reached = forward_best(lattice)
    return float(ahead[0] - (reached[lattice.source[ends]] + lattice.scores[ends]).max())


def boundary(spoken: Sequence[tuple[int, int]], frames: int) -> int:
    """The frame at which to cut: in the longest pause of the second half, or of all of it if that half has none.

    Silence at either end is a pause too if it is long enough to be none within a word. A cut in the first eighth would
    free so little that it had to be made again at once; without any other pause, the end.

    Args:
        spoken: see `spoken_frames`.
    """
    pauses = [(before[1], after[0]) for before, after in pairwise(spoken)]
    if spoken and spoken[0][0] >= _PAUSE:
        pauses.insert(0, (0, spoken[0][0]))
    if spoken and frames - spoken[-1][1] >= _PAUSE:
        pauses.append((spoken[-1][1], frames))
    pauses = [pause for pause in pauses if sum(pause) >= frames // 4]
    late = [(begin, end) for begin, end in pauses if end >= frames // 2]
    begin, end = max(late or pauses, key=lambda pause: pause[1] - pause[0], default=(frames, frames))
    return (begin + end + 1) // 2

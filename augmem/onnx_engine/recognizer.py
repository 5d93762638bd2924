"""Streaming recognition of many streams by onnxruntime and kaldi-decoder.

The scores are those of the torch model, up to the int8 weights: a step takes a window of features, at the end of a
stream the frames that exist. The search finds the best path; confidences are mean probabilities of the outputs of a
word, not posteriors of a lattice as those of `augmem.streaming`.

Letters: n samples, T feature frames, F feature bins, V outputs, B streams.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import kaldi_decoder
import kaldifst
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from augmem.errors import UserError
from augmem.features import FeatureConfig
from augmem.hotword_line import HotwordLine
from augmem.onnx_engine.search import EngineOptions, Float32Array, SearchGraph, SegmentSearch, SpokenWord, time_words
from augmem.onnx_package import OnnxPackage, open_onnx_package
from augmem.shipped import SHIPPED_MODEL
from augmem.streaming.endpoint import cut_position, is_endpoint
from augmem.streaming.events import Event, Word
from augmem.streaming.features import OnlineFeatures
from augmem.streaming.transcription import transcribe_packets

Samples = NDArray[Any]
NoHotwords = tuple[()]
States = list[NDArray[Any]]
_SILENCE = "SIL"


class AcousticSession:
    """An ONNX model of `augmem.sherpa` in onnxruntime.

    Args:
        model: content of the file.
        threads: number of threads.

    Attributes:
        window, shift: feature frames of a step, and between steps.
        subsampling: feature frames per output frame.
        frame_shift: seconds between output frames.
        delay: seconds between the audio that an output describes and its frame.
    """

    def __init__(self, model: bytes, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        facts = self._session.get_modelmeta().custom_metadata_map
        described = json.loads(facts["augmem"])
        self.window, self.shift = int(facts["T"]), int(facts["decode_chunk_len"])
        self.frame_shift, self.delay = described["output_frame_shift"], described["frontend_delay"]
        self.subsampling = round(self.frame_shift / described["features"]["frame_shift"])
        inputs = self._session.get_inputs()
        self._names = [value.name for value in inputs]
        self._axes = [list(value.shape).index("N") for value in inputs[1:]]
        self._shapes = [[1 if size == "N" else size for size in value.shape] for value in inputs[1:]]
        self._missing = self._names[1:].index("missing")

    def new_states(self) -> States:
        """Return the states of a new stream."""
        kinds = [np.int64 if name == "steps" else np.float32 for name in self._names[1:]]
        return [np.zeros(shape, kind) for shape, kind in zip(self._shapes, kinds, strict=True)]

    def step(self, windows: Sequence[Float32Array], states: Sequence[States]) -> list[tuple[Float32Array, States]]:
        """Score a window (T, F) of each stream; one shorter than `window` is the end of its stream.

        Returns:
            scores (frames, V) and states of each stream.
        """
        padded = np.stack([np.pad(rows, ((0, self.window - len(rows)), (0, 0))) for rows in windows])
        parts = zip(zip(*states, strict=True), self._axes, strict=True)
        joined = [np.concatenate(part, axis) for part, axis in parts]
        missing = np.array([self.window - len(rows) for rows in windows], np.float32)
        joined[self._missing] = missing.reshape(joined[self._missing].shape)
        scores, *new = self._session.run(None, dict(zip(self._names, [padded, *joined], strict=True)))
        split = [np.split(state, len(windows), axis) for state, axis in zip(new, self._axes, strict=True)]
        counts = [-(-min(len(rows), self.shift) // self.subsampling) for rows in windows]
        return [
            (np.ascontiguousarray(rows[:count]), list(own))
            for rows, count, own in zip(scores, counts, zip(*split, strict=True), strict=True)
        ]

    def time_of(self, frame: int) -> float:
        """Return the begin time in seconds of the audio that an output frame describes."""
        return round(max(frame * self.frame_shift - self.delay, frame * self.frame_shift / 4), 3)


class OnnxStream:
    """One live audio input, created by `OnnxRecognizer.stream`; used as `augmem.streaming.Stream`.

    Attributes:
        frames: (T, F) feature frames from the begin of the next window on.
        states: states of the model.
        search: search of the current segment.
        segment, segment_begin: number of the current segment, and its first output frame.
        hotwords: none.
        is_finishing, is_done: whether all audio has been added, and all events have been emitted.
    """

    def __init__(self, features: OnlineFeatures, states: States, search: SegmentSearch) -> None:
        self._features, self.states, self.search = features, states, search
        self.frames = features.take()
        self.segment = self.segment_begin = 0
        self.hotwords: NoHotwords = ()
        self.is_finishing = self.is_done = False
        self.partial_text = ""
        self._events: list[Event] = []

    def accept_waveform(self, samples: Samples, sample_rate: int) -> None:
        """Add audio (n,), int16 or float32 in [-1, 1], of any sampling rate from 4 to 192 kHz.

        Raises:
            UserError: invalid samples, an invalid rate, another sampling rate than before, or a finished stream.
        """
        if self.is_finishing:
            raise UserError("the stream is finished; create a new one")
        self._features.accept(samples, sample_rate)
        self.frames = np.concatenate([self.frames, self._features.take()])

    def finish(self) -> None:
        """Mark the end of the audio."""
        if not self.is_finishing:
            self.is_finishing = True
            self._features.finish()
            self.frames = np.concatenate([self.frames, self._features.take()])

    def is_ready(self, chunk_frames: int) -> bool:
        """Return whether a step advances this stream."""
        return not self.is_done and (self.is_finishing or len(self.frames) >= chunk_frames)

    def emit(self, event: Event) -> None:
        """Emit an event."""
        self._events.append(event)

    def events(self) -> list[Event]:
        """Return the events since the last call."""
        events, self._events = self._events, []
        return events


class OnnxRecognizer:
    """Model, graph and options; has no state of a stream, so it serves all streams.

    Args:
        package: folder made by `augmem export --format onnx`; by default the model that comes with this project.
        options: endpoint rules and beams.
        threads: number of threads.

    Raises:
        FileNotFoundError: there is no package.
        UserError: the package is damaged.

    Example: see `augmem.Recognizer`, which has the same methods.
    """

    def __init__(self, package: Path = SHIPPED_MODEL, options: EngineOptions | None = None, threads: int = 1) -> None:
        self.options = options or EngineOptions()
        self.package = open_onnx_package(package)
        self.model = AcousticSession(self.package.read_model(), threads)
        self.words, _ = self.package.read_words()
        self.graph = load_graph(self.package, self.options)

    def stream(self) -> OnnxStream:
        """Create a stream."""
        features = OnlineFeatures(self.package.features)
        return OnnxStream(features, self.model.new_states(), SegmentSearch(self.graph))

    @property
    def feature_config(self) -> FeatureConfig:
        """Feature options of the model."""
        return self.package.features

    @property
    def chunk_frames(self) -> int:
        """Feature frames that a running stream needs for a step."""
        return self.model.window

    @property
    def chunk_duration(self) -> float:
        """Seconds of audio that a running stream needs for a step."""
        return self.model.window * self.package.features.frame_shift

    def make_hotwords(self, hotwords: Sequence[HotwordLine]) -> NoHotwords:
        """Accept no hotwords: their bonuses need a lattice, which this search does not make.

        Raises:
            UserError: there are any.
        """
        if hotwords:
            raise UserError(
                "hotwords: the onnx engine has none; use a package of augmem package, or make the words "
                "more probable in this one: augmem words"
            )
        return ()

    def step(self, streams: Sequence[OnnxStream]) -> int:
        """Advance each stream that has a window, all in one batch; return their number.

        A finishing stream has a window as long as it has frames.
        """
        ready = [stream for stream in streams if stream.is_ready(self.chunk_frames)]
        scored = [stream for stream in ready if len(stream.frames)]
        if scored:
            windows = [stream.frames[: self.model.window] for stream in scored]
            results = self.model.step(windows, [stream.states for stream in scored])
            for stream, (scores, states) in zip(scored, results, strict=True):
                stream.frames, stream.states = stream.frames[self.model.shift :], states
                stream.search.advance(scores)
                self._update(stream)
        for stream in ready:
            if stream.is_finishing and not len(stream.frames):
                self._end_segment(stream)
                stream.is_done = True
        return len(ready)

    def transcribe(self, packets: Iterable[Samples], sample_rate: int) -> list[Event]:
        """Recognise one stream; return its final events.

        Args:
            packets: audio, see `OnnxStream.accept_waveform`.
            sample_rate: Hz.
        """
        return transcribe_packets(self, packets, sample_rate)

    def _update(self, stream: OnnxStream) -> None:
        """Emit a partial result; end the segment at an endpoint, or cut it at its maximum duration."""
        words = stream.search.words(final=False)
        text = " ".join(self.words[word.word] for word in words)
        if text != stream.partial_text and not stream.is_finishing:
            stream.partial_text = text
            stream.emit(self._event("partial", stream, words))
        frames, shift = stream.search.num_frames, self.model.frame_shift
        silence = (frames - (words[-1].end if words else 0)) * shift
        if is_endpoint(self.options.rules, bool(words), silence, stream.search.relative_cost(), frames * shift):
            self._end_segment(stream)
        elif frames * shift >= self.options.max_segment:
            self._cut(stream, cut_position(time_words(words), frames))

    def _end_segment(self, stream: OnnxStream) -> None:
        """Emit the final result of the current segment, and begin the next one."""
        if stream.search.num_frames:
            stream.emit(self._event("final", stream, stream.search.words(final=True)))
            stream.segment += 1
            stream.segment_begin += stream.search.num_frames
        stream.search, stream.partial_text = SegmentSearch(self.graph), ""

    def _cut(self, stream: OnnxStream, frame: int) -> None:
        """End the segment at an earlier frame, between words; search the scores after it again."""
        scores = np.concatenate(stream.search.scores)
        stream.search = SegmentSearch(self.graph)
        stream.search.advance(scores[:frame])
        self._end_segment(stream)
        stream.search.advance(scores[frame:])

    def _event(self, kind: Literal["partial", "final"], stream: OnnxStream, words: Sequence[SpokenWord]) -> Event:
        begin, time_of, final = stream.segment_begin, self.model.time_of, kind == "final"
        scores = np.concatenate(stream.search.scores)
        found = tuple(
            Word(
                self.words[word.word], time_of(begin + word.begin), time_of(begin + word.end),
                round(float(np.exp(scores[word.begin : word.end].max(axis=1)).mean()), 4) if final else None,
            )
            for word in words
        )  # fmt: skip
        end = time_of(begin + stream.search.num_frames)
        return Event(kind, stream.segment, found, end, stable=len(found) if final else 0)


def load_graph(package: OnnxPackage, options: EngineOptions) -> SearchGraph:
    """Load the decoding graph of a package; it is built first if that has not been done on this machine."""
    tokens = package.read_tokens()
    silent = frozenset({0, tokens[_SILENCE]} if _SILENCE in tokens else {0})
    limits = kaldi_decoder.FasterDecoderOptions(
        beam=options.search_beam or package.search_beam, max_active=options.max_active or package.max_active
    )
    with package.graph() as path:
        return SearchGraph(kaldifst.StdConstFst.read(str(path)), silent, limits)

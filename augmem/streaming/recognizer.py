"""Streaming recognition of many streams with one model.

Final results equal those of offline decoding of the same audio: features, encoder and lattices are exact (see their
modules), and words are chosen from the lattice in the same way.

Letters: n samples, T frames, F features, V units.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from augmem.decoding import DecodingGraph, Hotwords, make_hotwords
from augmem.encoder import StreamState
from augmem.errors import UserError
from augmem.hotword_line import HotwordLine
from augmem.streaming.decoder import StreamDecoder
from augmem.streaming.events import Event
from augmem.streaming.features import OnlineFeatures
from augmem.streaming.options import RecognizerOptions
from augmem.streaming.package import open_package
from augmem.streaming.stream import Stream
from augmem.streaming.transcription import transcribe_packets


class Recognizer:
    """Model, decoding graph and options of streaming recognition; has no state of a stream, so it serves all streams.

    Args:
        package: a packaged model (see `open_package`).
        options: endpoint rules and beams.
        verify: check the hashes of the package; see `open_package`.

    Raises:
        FileNotFoundError: there is no package.
        UserError: the package is damaged, or its encoder cannot stream.

    Example:
        >>> recognizer = Recognizer.load(package)        # folder made by `augmem package`
        >>> stream = recognizer.stream()
        >>> stream.accept_waveform(samples, 16000)       # int16 or float32, any packet size, any sampling rate
        >>> steps = recognizer.step([stream])            # or many streams at once
        >>> recognizer.finish([stream])
        >>> final = stream.events()[-1]
        >>> final.kind, [word.text for word in final.words] == final.text.split()
        ('final', True)
    """

    def __init__(self, package: Path, options: RecognizerOptions | None = None, verify: bool = True) -> None:
        self.options = options or RecognizerOptions()
        content = open_package(package, verify)
        self.model, self.feature_config = content.model, content.features
        try:
            self._initial_state = self.model.init_state(1)
        except NotImplementedError as error:
            raise UserError(f"{package}: {error}; train a streaming encoder such as augmented_memory") from error
        described = self.model.description
        origin = described.origin._replace(words_hash=content.lang.words_hash)
        graph = DecodingGraph.load(content.graph, origin)
        graph.check_units(described.num_units)
        search = self.options.search or content.search
        self._hotwords = make_hotwords(self.options.hotwords, content.lang)
        self.decoder = StreamDecoder(self.model, content.lang, graph, content.scales, self.options, search)

    @classmethod
    def load(cls, package: Path, options: RecognizerOptions | None = None, verify: bool = True) -> Recognizer:
        """Open a packaged model.

        Args:
            package: a packaged model.
            options: endpoint rules and beams.
            verify: check the hashes of the package.
        """
        return cls(package, options, verify)

    @property
    def latency(self) -> float:
        """Average encoder-induced latency in seconds."""
        return self.model.encoder.average_latency

    @property
    def chunk_frames(self) -> int:
        """Feature frames that one step encodes: those of a segment, or of the interval of partial results."""
        encoder = self.model.encoder
        interval = self.options.partial_interval / self.model.frame_shift
        return min(encoder.chunk_frames, max(1, round(min(interval, 1e6))) * encoder.subsampling)

    @property
    def chunk_duration(self) -> float:
        """Seconds of audio that one step encodes."""
        return self.chunk_frames * self.feature_config.frame_shift

    def stream(self, hotwords: Sequence[HotwordLine] = ()) -> Stream:
        """Create a stream.

        Args:
            hotwords: phrases that become more probable; none: those of the options.

        Raises:
            UserError: invalid hotwords.
        """
        stream = Stream(self.feature_config, self._initial_state, self.model.description.num_units)
        stream.hotwords = self.make_hotwords(hotwords)
        return stream

    def make_hotwords(self, hotwords: Sequence[HotwordLine]) -> Hotwords:
        """Check hotwords for `Stream.hotwords`; none: those of the options.

        Raises:
            UserError: invalid hotwords.
        """
        return make_hotwords(hotwords, self.decoder.lang) if hotwords else self._hotwords

    def step(self, streams: Sequence[Stream]) -> int:
        """Advance each stream that has a chunk by one chunk, and each finishing stream by all its remaining frames.

        Returns:
            the number of streams that were advanced; 0 if all need more audio or are done.
        """
        ready = [stream for stream in streams if stream.is_ready(self.chunk_frames)]
        running = [stream for stream in ready if len(stream.frames) >= self.chunk_frames]
        ending = [stream for stream in ready if len(stream.frames) < self.chunk_frames]
        with torch.inference_mode():
            self._encode(running)
            self._encode_rest(ending)
        with torch.no_grad():  # k2 refuses tensors made in inference mode
            self.decoder.advance(running)
            self.decoder.finish(ending)
        self._preview([stream for stream in running if stream.awaits_segment])
        for stream in ending:
            stream.close()
        return len(ready)

    def finish(self, streams: Sequence[Stream]) -> None:
        """Finish streams and step until all of them are done."""
        for stream in streams:
            stream.finish()
        while self.step(streams):
            pass

    def transcribe(self, packets: Iterable[NDArray[Any]], sample_rate: int) -> list[Event]:
        """Recognise one stream; return its final events.

        Args:
            packets: audio, see `Stream.accept_waveform`.
            sample_rate: Hz.
        """
        return transcribe_packets(self, packets, sample_rate)

    def transcribe_offline(self, samples: NDArray[np.float32], sample_rate: int) -> str:
        """Recognise a whole recording (n,) at once, by the parallel form of encoder and search; return its text.

        Args:
            samples: (n,) float32 in [-1, 1].
            sample_rate: Hz.
        """
        features = OnlineFeatures(self.feature_config)
        features.accept(samples, sample_rate)
        features.finish()
        frames = torch.from_numpy(features.take())
        if not len(frames):
            return ""
        with torch.no_grad():
            scores, _ = self.model(frames[None], torch.tensor([len(frames)]))
        return " ".join(self.decoder.find_words(scores[0], self._hotwords))

    def _encode(self, streams: Sequence[Stream]) -> None:
        """Encode one chunk of each stream, all in one batch."""
        if not streams:
            return
        chunks = torch.stack([stream.take_frames(self.chunk_frames) for stream in streams])
        states = StreamState.join([stream.encoder_state for stream in streams])
        scores, states = self.model.step(chunks, states, final=False)
        for stream, row, state in zip(streams, scores, states.split(), strict=True):
            stream.add_scores(row[: int(state.emitted)], state.limit_memory(self.options.memory_reset_segments))

    def _preview(self, streams: Sequence[Stream]) -> None:
        """Score the incomplete encoder segments of streams provisionally, as if they ended now; keep no state."""
        if not streams or self.chunk_frames == self.model.encoder.chunk_frames:
            return
        states = StreamState.join([stream.encoder_state for stream in streams])
        nothing = torch.zeros(len(streams), 0, self.model.description.feature_dim)
        with torch.inference_mode():
            scores, ended = self.model.step(nothing, states, final=True)
        for stream, row, count in zip(streams, scores, ended.emitted.tolist(), strict=True):
            self.decoder.preview(stream, row[:count])

    def _encode_rest(self, streams: Sequence[Stream]) -> None:
        """Encode the remaining frames of finishing streams, one by one because their lengths differ."""
        for stream in streams:
            frames = stream.take_frames(len(stream.frames))
            scores, state = self.model.step(frames[None], stream.encoder_state, final=True)
            stream.add_scores(scores[0], state)

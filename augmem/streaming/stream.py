"""One live audio input and the state of its recognition."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augmem.decoding import Hotwords, SearchState
from augmem.encoder import StreamState
from augmem.errors import UserError
from augmem.features import FeatureConfig
from augmem.streaming.events import Event
from augmem.streaming.features import OnlineFeatures


class Stream:
    """One live audio input, created by `Recognizer.stream`.

    The caller adds audio and takes events. In between, the recognizer takes feature frames, adds the encoder's scores,
    takes these for the search, and emits events:

        accept_waveform -> frames -> take_frames, add_scores -> scores -> take_scores, emit -> events

    Attributes:
        frames: (T, F) feature frames that are not encoded yet.
        encoder_state: streaming state of the encoder.
        scores: (T, V) log-probabilities that are not searched yet.
        search: state of the search in the current segment.
        hotwords: bonuses of phrases; can be changed at any time.
        segment: number of the current segment, from 0.
        segment_begin: encoder frame at which the current segment begins.
        is_finishing: whether all audio has been added.
        is_done: whether all events have been emitted.

    Example:
        >>> from augmem.streaming import Recognizer
        >>> recognizer = Recognizer.load(package)
        >>> stream = recognizer.stream()
        >>> for packet in np.split(samples, 4):              # as audio arrives
        ...     stream.accept_waveform(packet, 16000)
        ...     while recognizer.step([stream]):
        ...         pass
        >>> partial = stream.events()                        # partial results, and final ones after endpoints
        >>> stream.finish()
        >>> while recognizer.step([stream]):
        ...     pass
        >>> stream.is_done, stream.events()[-1].kind
        (True, 'final')
    """

    def __init__(self, features: FeatureConfig, encoder_state: StreamState, num_units: int) -> None:
        self.frames = torch.zeros(0, features.num_mel_bins)
        self.encoder_state = encoder_state
        self.scores = torch.zeros(0, num_units)
        self.search = SearchState()
        self.hotwords = Hotwords(())
        self.segment = self.segment_begin = 0
        self.is_finishing = self.is_done = False
        self._features = OnlineFeatures(features)
        self._partial: Event | None = None
        self._preview: SearchState | None = None
        self._events: list[Event] = []

    def accept_waveform(self, samples: NDArray[np.int16] | NDArray[np.float32], sample_rate: int) -> None:
        """Add audio.

        Args:
            samples: (n,) one channel, int16, or float32 in [-1, 1]; any n.
            sample_rate: Hz, from 4,000 to 192,000; the same for the whole stream.

        Raises:
            UserError: invalid samples, an invalid rate, another sampling rate than before, or a finished stream.
        """
        if self.is_finishing:
            raise UserError("the stream is finished; create a new one")
        self._features.accept(samples, sample_rate)
        self._add_frames()

    def finish(self) -> None:
        """Mark the end of the audio."""
        if not self.is_finishing:
            self.is_finishing = True
            self._features.finish()
            self._add_frames()

    def events(self) -> list[Event]:
        """Return the events since the last call."""
        events, self._events = self._events, []
        return events

    def is_ready(self, chunk_frames: int) -> bool:
        """Return whether a step advances this stream."""
        return not self.is_done and (self.is_finishing or len(self.frames) >= chunk_frames)

    @property
    def awaits_segment(self) -> bool:
        """Whether the last step encoded no complete segment."""
        return int(self.encoder_state.emitted) == 0

    def take_frames(self, count: int) -> Tensor:
        """Remove and return the first `count` feature frames (count, F), or all if there are fewer."""
        taken, self.frames = self.frames[:count], self.frames[count:]
        return taken

    def add_scores(self, scores: Tensor, encoder_state: StreamState) -> None:
        """Append the encoder's output (T, V) and replace its state."""
        self.scores = torch.cat([self.scores, scores])
        self.encoder_state = encoder_state

    def take_scores(self) -> Tensor:
        """Remove and return all scores (T, V)."""
        taken, self.scores, self._preview = self.scores, self.scores[:0], None
        return taken

    def continue_preview(self) -> SearchState:
        """Return the search of provisional scores, which goes on from that of the scores until the next ones."""
        if self._preview is None:
            self._preview = self.search.copy()
        return self._preview

    def is_new_partial(self, event: Event) -> bool:
        """Return whether a partial result differs from the last one of the current segment."""
        last = self._partial
        return (event.text, event.stable) != ((last.text, last.stable) if last else ("", 0))

    def emit_partial(self, event: Event) -> None:
        """Emit a partial result of the current segment."""
        self._partial = event
        self._events.append(event)

    def end_segment(self, event: Event, num_frames: int) -> None:
        """Emit the final result of the current segment and begin the next one after `num_frames` encoder frames."""
        self._partial = self._preview = None
        self._events.append(event)
        self.segment += 1
        self.segment_begin += num_frames
        self.search = SearchState()

    def close(self) -> None:
        """Mark the stream as done."""
        self.is_done = True

    def _add_frames(self) -> None:
        self.frames = torch.cat([self.frames, torch.from_numpy(self._features.take())])

"""One speaker's audio on its way: what has been heard of it, and where encoder and search stand."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augmem.decoding.online import StreamSearch
from augmem.features import FeatureConfig
from augmem.streaming.events import Event
from augmem.streaming.features import OnlineFeatures


class Stream:
    """One speaker's audio on its way; made by `Recognizer.stream`."""

    def __init__(self, features: FeatureConfig, state: dict[str, Tensor], num_units: int) -> None:
        self._config, self._fresh, self._num_units = features, state, num_units
        self.reset()

    def reset(self) -> None:
        """Forget everything: a new stream."""
        self.features = OnlineFeatures(self._config)
        self.frames = torch.zeros(0, self._config.num_mel_bins)
        self.state = self._fresh
        self.finishing = self.is_done = False
        self.segment = 0
        self.segment_begin = 0  # encoder frame at which the segment begins
        self.held = torch.zeros(0, self._num_units)
        self.search = StreamSearch()
        self.partial_text = ""
        self._events: list[Event] = []

    def accept_waveform(self, samples: NDArray[np.int16] | NDArray[np.float32], sample_rate: int) -> None:
        """Take a packet (n,) of one channel: int16, or floats in [-1, 1].

        Raises:
            ValueError: samples that are none, another rate than before, or a stream that was finished.
        """
        if self.finishing:
            raise ValueError("this stream was finished: reset it, or take a new one")
        self.features.accept(samples, sample_rate)
        self._collect()

    def finish(self) -> None:
        """There is no more audio."""
        if not self.finishing:
            self.finishing = True
            self.features.finish()
            self._collect()

    def is_ready(self, chunk_frames: int) -> bool:
        """Whether a step has something to do here."""
        return not self.is_done and (self.finishing or len(self.frames) >= chunk_frames)

    def events(self) -> list[Event]:
        """What has happened since the last call."""
        events, self._events = self._events, []
        return events

    def would_tell(self, text: str) -> bool:
        """Whether a partial result would be news."""
        return text != self.partial_text

    def tell(self, event: Event) -> None:
        """Note an event."""
        self.partial_text = event.text if event.kind == "partial" else ""
        self._events.append(event)

    def _collect(self) -> None:
        self.frames = torch.cat([self.frames, torch.from_numpy(self.features.take())])

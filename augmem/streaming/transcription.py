"""Recognition of one stream from packets, by any recogniser."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from augmem.streaming.events import Event


class StreamRecognizer(Protocol):
    """`Recognizer`, or `OnnxRecognizer` of `augmem.onnx_engine`."""

    def stream(self) -> Any:
        """Return a new stream."""

    def step(self, streams: Sequence[Any]) -> int:
        """Advance the streams that are ready; return their number."""


def transcribe_packets(recognizer: StreamRecognizer, packets: Iterable[NDArray[Any]], sample_rate: int) -> list[Event]:
    """Recognise one stream; return its final events.

    Args:
        recognizer: the recogniser.
        packets: audio, see `Stream.accept_waveform`.
        sample_rate: Hz.
    """
    stream, events = recognizer.stream(), list[Event]()
    for packet in packets:
        stream.accept_waveform(packet, sample_rate)
        while recognizer.step([stream]):
            pass
        events += stream.events()
    stream.finish()
    while recognizer.step([stream]):
        pass
    return [event for event in events + stream.events() if event.kind == "final"]

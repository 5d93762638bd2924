"""Requests that wait for a decoding process."""

from __future__ import annotations

import numpy as np

from augmem.serving.messages import AudioPacket, CloseStream, FinishStream, OpenStream, Request
from augmem.serving.outbox import Outbox


def packet(stream: int) -> AudioPacket:
    return AudioPacket(stream, np.zeros(800, np.int16), 16000)


def taken(outbox: Outbox) -> list[Request]:
    return list(iter(outbox.take, None))


def test_a_new_stream_does_not_wait_for_the_audio_of_others() -> None:
    outbox = Outbox()
    for stream in (1, 2):
        for request in (OpenStream(stream), *(packet(stream) for _ in range(40)), FinishStream(stream)):
            outbox.put(request)
    for request in (OpenStream(3), packet(3)):
        outbox.put(request)
    order = taken(outbox)
    assert [request.stream for request in order[:7]] == [1, 2, 3, 1, 2, 3, 1]
    of_first = [type(request) for request in order if request.stream == 1]
    assert of_first == [OpenStream, *[AudioPacket] * 40, FinishStream] and len(order) == 86


def test_audio_of_a_closed_stream_is_discarded_at_once() -> None:
    outbox = Outbox()
    outbox.put(OpenStream(1))
    assert outbox.take() == OpenStream(1)
    for request in (packet(1), packet(1), OpenStream(2), packet(2)):
        outbox.put(request)
    outbox.put(CloseStream(2))  # the process does not learn of this stream
    outbox.put(CloseStream(1))
    assert taken(outbox) == [CloseStream(1)]

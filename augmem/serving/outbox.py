"""Requests that wait for a decoding process."""

from __future__ import annotations

from collections import deque

from augmem.serving.messages import CloseStream, OpenStream, Request


class Outbox:
    """Requests by stream; the streams take turns, so that one with much audio does not delay the others.

    A stream that is closed leaves nothing behind: its audio is discarded, and if the process has not been sent its
    opening, nothing is sent.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, deque[Request]] = {}  # by stream, in the order of their turns

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put(self, request: Request) -> None:
        """Add a request; the requests of a stream keep their order."""
        if isinstance(request, CloseStream):
            discarded = self._waiting.pop(request.stream, ())
            if any(isinstance(one, OpenStream) for one in discarded):
                return
        self._waiting.setdefault(request.stream, deque()).append(request)

    def take(self) -> Request | None:
        """Remove and return the next request of the stream whose turn it is; None if there is none."""
        if not self._waiting:
            return None
        stream = next(iter(self._waiting))
        requests = self._waiting.pop(stream)
        request = requests.popleft()
        if requests:
            self._waiting[stream] = requests  # its next turn comes after those of the others
        return request

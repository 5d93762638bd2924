"""The microphone as an audio input, and Ctrl-C, which ends an input."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import Event as Flag
from types import ModuleType
from typing import TYPE_CHECKING, Any

from augmem.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    Packet = tuple[np.ndarray, int]  # samples (n,) of one channel, sampling rate in Hz

MICROPHONE_RATE = 16000  # Hz
PACKET = 0.1  # seconds


@contextmanager
def catch_interrupt() -> Iterator[Flag]:
    """Yield a flag that Ctrl-C sets, instead of raising KeyboardInterrupt; a second Ctrl-C raises it."""
    interrupted = Flag()

    def note(*_: Any) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, handler)

    handler = signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, handler)


def import_sounddevice() -> ModuleType:
    """Import the library that reads the microphone.

    Raises:
        UserError: it, or PortAudio, is not installed.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise UserError(f"no microphone: {error}; pip install sounddevice") from error
    except OSError as error:
        raise UserError(f"no microphone: {error}; apt-get install libportaudio2") from error
    return sounddevice


def read_microphone(interrupted: Flag) -> Iterator[Packet]:
    """Yield packets of the default microphone until Ctrl-C; audio that arrives during recognition is queued.

    Args:
        interrupted: set by Ctrl-C.

    Raises:
        UserError: the microphone cannot be read.
    """
    sounddevice = import_sounddevice()
    queue: SimpleQueue[np.ndarray] = SimpleQueue()

    def receive(block: np.ndarray, frames: int, time: Any, status: Any) -> None:
        queue.put(block[:, 0].copy())  # PortAudio uses the buffer again
        if status:
            print(f"microphone: {status}: some audio was lost", file=sys.stderr)

    try:
        size = int(MICROPHONE_RATE * PACKET)
        with sounddevice.InputStream(MICROPHONE_RATE, size, channels=1, dtype="float32", callback=receive):
            print("recording; Ctrl-C stops it", file=sys.stderr)
            yield from read_queue(queue, interrupted)
    except sounddevice.PortAudioError as error:
        command = f"{sys.executable} -m sounddevice"
        raise UserError(f"the microphone cannot be read: {error}; {command} lists the devices") from error


def read_queue(queue: SimpleQueue[np.ndarray], interrupted: Flag) -> Iterator[Packet]:
    """Yield the packets of a queue until `interrupted` is set, then those that are left."""
    while not interrupted.is_set():
        with suppress(Empty):
            yield queue.get(timeout=PACKET), MICROPHONE_RATE
    while not queue.empty():
        yield queue.get(), MICROPHONE_RATE

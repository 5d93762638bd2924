"""Write down what is said in audio files, on standard input, or into the microphone, while it is being said."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event as Flag
from types import ModuleType
from typing import TYPE_CHECKING, Any

from augmem.files import demand_distinct_names

if TYPE_CHECKING:
    from augmem.streaming import Event, Recognizer

FORMATS = ("text", "json", "ctm", "srt", "vtt")
_PACKET = 0.1  # seconds


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which model, what to hear, and how to write it down."""
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="wav, flac, mp3, ogg, opus; - for one of them on stdin"
    )
    parser.add_argument("--package", type=Path, required=True, help="folder made by augmem package")
    parser.add_argument("--microphone", action="store_true", help="listen until interrupted")
    parser.add_argument("--format", choices=FORMATS, default="text", help="%(default)s")
    parser.add_argument("--output", type=Path, help="file to write (standard output)")
    parser.add_argument("--one-segment", action="store_true", help="no endpoints: a file is one segment")
    parser.add_argument("--compare-offline", action="store_true", help="decode whole files too; say what differs")


def check(arguments: argparse.Namespace) -> None:
    """Say what is wrong before a model is loaded, and before other files are decoded in vain."""
    if bool(arguments.files) == arguments.microphone:
        raise ValueError("name audio files, or --microphone")
    if arguments.microphone and arguments.compare_offline:
        raise ValueError("--compare-offline wants files: what the microphone hears is not kept")
    if len(arguments.files) > 1 and arguments.format in ("srt", "vtt"):
        raise ValueError(f"subtitles are of one file; name one, not {len(arguments.files)}")
    for name in arguments.files:
        if name != "-" and not Path(name).is_file():
            raise FileNotFoundError(f"{name}: no such file")
    if arguments.format == "ctm":
        demand_distinct_names(map(Path, arguments.files))


def run(arguments: argparse.Namespace) -> int:
    """Transcribe; 1 if offline decoding differs."""
    check(arguments)
    if arguments.microphone:
        portaudio()
    from augmem.streaming import Recognizer, RecognizerOptions  # takes seconds, which a wrong option need not wait for
    from augmem.streaming.formats import write_events

    alone = arguments.one_segment or arguments.compare_offline
    options = RecognizerOptions(rules=(), max_segment=float("inf")) if alone else RecognizerOptions()
    recogniser = Recognizer.load(arguments.package, options)
    results, offline = [], []
    for name in arguments.files or ["microphone"]:
        heard: list[Any] | None = [] if arguments.compare_offline else None
        results.append((name, listen(recogniser, name, heard)))
        if heard is not None:
            offline.append(whole(recogniser, heard))
    text = write_events(arguments.format, results)
    if arguments.output:
        from augmem.files import write_text

        write_text(arguments.output, text)
    else:
        print(text, end="")
    return compare(results, offline)


def listen(recogniser: Recognizer, name: str, keep: list[Any] | None = None) -> list[Event]:
    """All final events of one source, whose packets go to `keep`; a terminal shows the partial ones."""
    stream, found = recogniser.stream(), []

    def hear() -> None:
        while recogniser.step([stream]):
            pass
        for event in stream.events():
            if event.kind == "final":
                found.append(event)
            if sys.stderr.isatty():
                show(event)

    for samples, rate in packets(name):
        if keep is not None:
            keep.append((samples, rate))
        try:
            stream.accept_waveform(samples, rate)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        hear()
    stream.finish()
    hear()
    return found


def show(event: Event) -> None:
    """Live text: a partial result on one line, as much of its end as fits; a final one whole, to stay."""
    final = event.kind == "final"
    text = event.text if final else event.text[1 - shutil.get_terminal_size().columns :]
    if text or not final:
        print(f"\r\033[K{text}", end="\n" if final else "", file=sys.stderr, flush=True)


def packets(name: str) -> Iterator[tuple[Any, int]]:
    """The source in packets of a tenth of a second: (samples of one channel, Hz).

    Raises:
        ValueError: not audio, or no microphone to be had.
    """
    if name == "microphone":
        yield from microphone()
        return
    import soundfile

    source: Any = name
    if name == "-":
        import io

        source = io.BytesIO(sys.stdin.buffer.read())
    try:
        with soundfile.SoundFile(source) as audio:
            for block in audio.blocks(int(audio.samplerate * _PACKET), dtype="float32", always_2d=True):
                yield block.mean(axis=1), audio.samplerate
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{name}: not audio that can be read ({error}); convert it to WAV or FLAC") from error


def portaudio() -> ModuleType:
    """The library that reads the microphone.

    Raises:
        ValueError: it is not there.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise ValueError(f"no microphone: {error}; pip install sounddevice") from error
    except OSError as error:
        raise ValueError(f"no microphone: {error}; apt-get install libportaudio2") from error
    return sounddevice


def microphone() -> Iterator[tuple[Any, int]]:
    """The default microphone until Ctrl-C; what is heard while a packet is recognised waits in a queue."""
    sounddevice, rate, interrupted = portaudio(), 16000, Flag()
    heard: SimpleQueue[Any] = SimpleQueue()

    def take(block: Any, frames: int, time: Any, status: Any) -> None:
        heard.put(block[:, 0].copy())
        if status:
            print(f"microphone: {status}: some audio was lost", file=sys.stderr)

    before = signal.signal(signal.SIGINT, lambda *_: interrupted.set())  # what has been heard is still written down
    try:
        with sounddevice.InputStream(rate, int(rate * _PACKET), channels=1, dtype="float32", callback=take):
            print("listening; Ctrl-C ends it", file=sys.stderr)
            while not interrupted.is_set():
                with suppress(Empty):
                    yield heard.get(timeout=_PACKET), rate
        while not heard.empty():
            yield heard.get(), rate
    except sounddevice.PortAudioError as error:
        lists = f"{sys.executable} -m sounddevice lists what there is"
        raise ValueError(f"the microphone cannot be read: {error}; {lists}") from error
    finally:
        signal.signal(signal.SIGINT, before)


def whole(recogniser: Recognizer, heard: list[Any]) -> str:
    """What offline decoding makes of these packets."""
    import numpy as np

    return recogniser.offline(np.concatenate([samples for samples, _ in heard]), heard[0][1]) if heard else ""


def compare(results: list[tuple[str, list[Event]]], decoded: list[str]) -> int:
    """Say where offline decoding of a whole file gave other words; 1 if it did anywhere."""
    different = 0
    for (name, events), offline in zip(results, decoded, strict=False):  # none, if there is nothing to compare with
        streamed = " ".join(event.text for event in events if event.text)
        same = offline == streamed
        different += not same
        print(f"{name}: streaming and offline {'agree' if same else 'differ'}", file=sys.stderr)
        if not same:
            print(f"  streaming: {streamed}\n  offline:   {offline}", file=sys.stderr)
    return int(different > 0)

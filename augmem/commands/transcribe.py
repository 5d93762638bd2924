"""Write down what is said in audio files, on standard input, or into the microphone, while it is being said."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from augmem.streaming import Event, Recognizer

FORMATS = ("text", "json", "ctm", "srt", "vtt")
_PACKET = 0.1  # seconds


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which model, what to hear, and how to write it down."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="wav, flac, mp3, ogg, opus; - for a wav on stdin")
    parser.add_argument("--package", type=Path, required=True, help="folder made by augmem package")
    parser.add_argument("--microphone", action="store_true", help="listen until interrupted")
    parser.add_argument("--format", choices=FORMATS, default="text", help="%(default)s")
    parser.add_argument("--output", type=Path, help="file to write (standard output)")
    parser.add_argument("--one-segment", action="store_true", help="no endpoints: a file is one segment")
    parser.add_argument("--compare-offline", action="store_true", help="decode whole files too; say what differs")


def run(arguments: argparse.Namespace) -> int:
    """Transcribe; 1 if offline decoding differs."""
    from augmem.streaming import Recognizer, RecognizerOptions
    from augmem.streaming.formats import write_events

    if bool(arguments.files) == arguments.microphone:
        raise ValueError("name audio files, or --microphone")
    alone = arguments.one_segment or arguments.compare_offline
    options = RecognizerOptions(rules=(), max_segment=float("inf")) if alone else RecognizerOptions()
    recogniser = Recognizer.load(arguments.package, options)
    results = [(name, listen(recogniser, name)) for name in arguments.files or ["microphone"]]
    text = write_events(arguments.format, results)
    if arguments.output:
        from augmem.files import write_text

        write_text(arguments.output, text)
    else:
        print(text, end="")
    return compare(recogniser, results) if arguments.compare_offline else 0


def listen(recogniser: Recognizer, name: str) -> list[Event]:
    """All final events of one source; a terminal shows the partial ones."""
    stream, found = recogniser.stream(), []

    def hear() -> None:
        while recogniser.step([stream]):
            pass
        for event in stream.events():
            if event.kind == "final":
                found.append(event)
            if sys.stderr.isatty():
                print(f"\r\033[K{event.text[-100:]}", end="\n" if event.kind == "final" else "", file=sys.stderr)

    for samples, rate in packets(name):
        stream.accept_waveform(samples, rate)
        hear()
    stream.finish()
    hear()
    return found


def packets(name: str) -> Iterator[tuple[Any, int]]:
    """The source in packets of a tenth of a second: (samples of one channel, Hz).

    Raises:
        FileNotFoundError: no such file.
        ValueError: not audio, or no microphone to be had.
    """
    if name == "microphone":
        yield from microphone()
        return
    import soundfile

    if name != "-" and not Path(name).is_file():
        raise FileNotFoundError(f"{name}: no such file")
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


def microphone() -> Iterator[tuple[Any, int]]:
    """The default microphone until Ctrl-C."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise ValueError(
            f"no microphone without sounddevice ({error}): apt-get install libportaudio2, pip install sounddevice"
        ) from error
    rate = 16000
    try:
        with sounddevice.InputStream(rate, int(rate * _PACKET), channels=1, dtype="float32") as source:
            while True:
                yield source.read(int(rate * _PACKET))[0][:, 0], rate
    except KeyboardInterrupt:
        return


def compare(recogniser: Recognizer, results: list[tuple[str, list[Event]]]) -> int:
    """Say where offline decoding of a whole file gives other words; 1 if it does anywhere."""
    import numpy as np

    different = 0
    for name, events in results:
        heard = list(packets(name))
        rate = heard[0][1] if heard else recogniser.sample_rate
        offline = recogniser.offline(np.concatenate([samples for samples, _ in heard]), rate) if heard else ""
        streamed = " ".join(event.text for event in events if event.text)
        same = offline == streamed
        different += not same
        print(f"{name}: streaming and offline {'agree' if same else 'differ'}", file=sys.stderr)
        if not same:
            print(f"  streaming: {streamed}\n  offline:   {offline}", file=sys.stderr)
    return int(different > 0)

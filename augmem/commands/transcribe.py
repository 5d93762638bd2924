"""Transcribe audio files, standard input or the microphone with a packaged model, live."""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from threading import Event as Flag
from typing import TYPE_CHECKING, Any, NamedTuple

from augmem.audio import WHOLE, AudioFile, Span, blocks_within, channel_index, choose_channel, read_time
from augmem.commands.engines import add_engine_option, load_recognizer
from augmem.commands.microphone import PACKET, catch_interrupt, import_sounddevice, read_microphone
from augmem.commands.options import add_hotword_option, add_package_option, add_search_options
from augmem.errors import INTERRUPTED, UserError
from augmem.files import check_distinct_names

if TYPE_CHECKING:
    from augmem.commands.microphone import Packet
    from augmem.streaming import Event, SpeechGate

OUTPUT_FORMATS = ("text", "json", "ctm", "srt", "vtt")
MICROPHONE = "microphone"  # name of its results
ALL, MIX = "all", "mix"
STDIN_LIMIT = 1 << 29  # bytes, since standard input is read into memory


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="audio file (wav, flac, mp3, ogg, opus); - reads one from stdin"
    )
    add_package_option(parser, "augmem package or augmem export")
    add_engine_option(parser)
    parser.add_argument("--microphone", action="store_true", help="transcribe the microphone until Ctrl-C")
    parser.add_argument("--format", choices=OUTPUT_FORMATS, default="text", help="output format (%(default)s)")
    parser.add_argument("--output", type=Path, help="output file (standard output)")
    parser.add_argument(
        "--channel",
        default=MIX,
        help="channel of files with several: a number from 1, all (one result each), or mix (their mean; %(default)s)",
    )
    parser.add_argument("--from", metavar="TIME", help="begin of the range to transcribe: seconds, MM:SS or HH:MM:SS")
    parser.add_argument("--to", metavar="TIME", help="end of the range")
    parser.add_argument(
        "--paragraphs", type=float, metavar="SECONDS", help="format text: a paragraph ends at a pause of this length"
    )
    parser.add_argument(
        "--min-confidence", type=float, default=0.0, help="leave out words of lower confidence (%(default)s: none)"
    )
    parser.add_argument("--one-segment", action="store_true", help="detect no endpoints: a file is one segment")
    parser.add_argument(
        "--compare-offline", action="store_true", help="decode whole files offline too and report differences"
    )
    parser.add_argument(
        "--vad", action="store_true", help="leave out audio without speech (needs pip install augmem[vad])"
    )
    add_hotword_option(parser, "the audio")
    add_search_options(parser, "the values in the package")


def run(arguments: argparse.Namespace) -> int:
    """Transcribe; return 1 if --compare-offline finds a difference, 130 after Ctrl-C.

    Results of the audio read so far are written after Ctrl-C too, and if a later input cannot be read.
    """
    check_options(arguments)
    if arguments.microphone:
        import_sounddevice()  # before the model is loaded
    sources = list(list_sources(arguments))
    recognizer = load_recognizer(arguments)
    results: list[tuple[str, list[Event]]] = []
    agree = True
    with catch_interrupt() as interrupted:
        try:
            for source in sources:
                agree &= recognise_source(arguments, recognizer, source, interrupted, results)
                if interrupted.is_set():
                    break
        finally:
            if results:
                missing: list[tuple[str, list[Event]]] = [(source.label, []) for source in sources[len(results) :]]
                write_results(arguments, results + missing, [str((source.channel or 0) + 1) for source in sources])
    if interrupted.is_set() and not arguments.microphone:
        print("interrupted: the results end with the audio read so far", file=sys.stderr)
        return INTERRUPTED
    return 0 if agree else 1


def recognise_source(
    arguments: argparse.Namespace,
    recognizer: Any,
    source: Source,
    interrupted: Flag,
    results: list[tuple[str, list[Event]]],
) -> bool:
    """Recognise an input and append its results; return False if offline decoding gives others.

    Args:
        arguments: options of the command.
        recognizer: the model.
        source: the input.
        interrupted: ends the input early, without a comparison.
        results: receives label and final events.
    """
    span = read_span(arguments)
    packets, gate = read_packets(source, interrupted, span), make_gate(arguments)
    packets = gate.keep(packets) if gate else packets
    whole = list(packets) if arguments.compare_offline else None
    events = transcribe(recognizer, source.label, packets if whole is None else take_until(interrupted, whole))
    timed = map(gate.restore, events) if gate else events
    shown = [event.later(span.begin).confident(arguments.min_confidence) for event in timed]
    results.append((source.label, shown))
    if interrupted.is_set() or whole is None:
        return True
    return agrees_with_offline(recognizer, source.label, whole, events)


def make_gate(arguments: argparse.Namespace) -> SpeechGate | None:
    """Return what leaves out audio without speech, if --vad is given.

    Raises:
        UserError: the detector is not installed.
    """
    from augmem.streaming import SpeechGate, load_detector

    return SpeechGate(load_detector()) if arguments.vad else None


def take_until(interrupted: Flag, packets: Iterable[Packet]) -> Iterator[Packet]:
    """Yield packets until `interrupted` is set."""
    return takewhile(lambda _: not interrupted.is_set(), packets)


def check_options(arguments: argparse.Namespace) -> None:
    """Check options and files before a model is loaded.

    Raises:
        UserError: options that do not go together, or results that would have one name.
        FileNotFoundError: an audio file does not exist.
    """
    if bool(arguments.files) == arguments.microphone:
        raise UserError("give either audio files or --microphone")
    if arguments.microphone and arguments.compare_offline:
        raise UserError("--compare-offline requires audio files; microphone audio is not stored")
    if len(arguments.files) > 1 and arguments.format in ("srt", "vtt"):
        raise UserError(f"--format {arguments.format} takes one file, not {len(arguments.files)}")
    if arguments.channel == ALL and arguments.format in ("srt", "vtt"):
        raise UserError(f"--format {arguments.format} takes one channel, not all")
    for name in arguments.files:
        if name != "-" and not Path(name).is_file():
            raise FileNotFoundError(f"{name}: no such file")
    if arguments.channel not in (ALL, MIX):
        channel_index(arguments.channel)
    if arguments.microphone and arguments.channel != MIX:
        raise UserError("--channel needs audio files; the microphone is read as one channel")
    if arguments.format == "ctm":
        check_distinct_names(map(Path, arguments.files))
    check_range_options(arguments)
    make_gate(arguments)


def check_range_options(arguments: argparse.Namespace) -> None:
    """Check --from, --to, --paragraphs and --min-confidence.

    Raises:
        UserError: a value is invalid, or does not go together with other options.
    """
    if not 0 <= arguments.min_confidence <= 1:
        raise UserError(f"--min-confidence {arguments.min_confidence:g}: must be from 0 to 1")
    if arguments.microphone and read_span(arguments) != WHOLE:
        raise UserError("--from and --to need audio files")
    if arguments.paragraphs is None:
        return
    if arguments.format != "text":
        raise UserError(f"--paragraphs needs --format text, not {arguments.format}")
    if not arguments.paragraphs > 0:
        raise UserError(f"--paragraphs {arguments.paragraphs:g}: must be more than 0 seconds")


def transcribe(recognizer: Any, name: str, packets: Iterable[Packet]) -> list[Event]:
    """Return the final events of one audio input; show results on a terminal as they come.

    Args:
        recognizer: the packaged model.
        name: name of the input, for messages.
        packets: samples (n,) and sampling rate of each packet.

    Raises:
        UserError: invalid samples.
    """
    stream, finals = recognizer.stream(), []
    for samples, sample_rate in packets:
        try:
            stream.accept_waveform(samples, sample_rate)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
        finals += advance_stream(recognizer, stream)
    stream.finish()
    return finals + advance_stream(recognizer, stream)


def advance_stream(recognizer: Any, stream: Any) -> list[Event]:
    """Recognise the audio so far, show the events and return the final ones."""
    while recognizer.step([stream]):
        pass
    events = stream.events()
    if sys.stderr.isatty():
        for event in events:
            show_event(event)
    return [event for event in events if event.kind == "final"]


def show_event(event: Event) -> None:
    """Show an event on the terminal: a partial result in place, shortened to one line, a final one on its own line."""
    final = event.kind == "final"
    text = event.text if final else event.text[1 - shutil.get_terminal_size().columns :]
    if text or not final:
        print(f"\r\033[K{text}", end="\n" if final else "", file=sys.stderr, flush=True)


def write_results(
    arguments: argparse.Namespace, results: list[tuple[str, list[Event]]], channels: Sequence[str]
) -> None:
    """Write all results to the output file, or print them.

    Args:
        arguments: format and output file.
        results: name and final events of each input.
        channels: channel of each input, for CTM.
    """
    from augmem.files import write_text
    from augmem.streaming import format_events, format_paragraphs

    if arguments.paragraphs:
        text = format_paragraphs(results, arguments.paragraphs)
    else:
        text = format_events(arguments.format, results, channels)
    if arguments.output:
        write_text(arguments.output, text)
    else:
        print(text, end="")


def agrees_with_offline(recognizer: Any, name: str, packets: list[Packet], events: list[Event]) -> bool:
    """Decode a whole file offline and report whether its text equals that of streaming recognition.

    Args:
        recognizer: the packaged model.
        name: name of the file, for messages.
        packets: samples (n,) and sampling rate of each packet.
        events: final events of streaming recognition.

    Returns:
        whether the texts are equal.
    """
    import numpy as np

    samples = np.concatenate([samples for samples, _ in packets]) if packets else np.zeros(0, np.float32)
    offline = recognizer.transcribe_offline(samples, packets[0][1]) if packets else ""
    streamed = " ".join(event.text for event in events if event.text)
    print(f"{name}: streaming and offline {'agree' if offline == streamed else 'differ'}", file=sys.stderr)
    if offline != streamed:
        print(f"  streaming: {streamed}\n  offline:   {offline}", file=sys.stderr)
    return offline == streamed


def read_span(arguments: argparse.Namespace) -> Span:
    """Return the range of --from and --to.

    Raises:
        UserError: a time is invalid, or the end is not after the begin.
    """
    begin, end = getattr(arguments, "from"), arguments.to
    span = Span(read_time("--from", begin) if begin else 0.0, read_time("--to", end) if end else math.inf)
    if span.end <= span.begin:
        raise UserError(f"--to {end} is not after --from {begin or 0}")
    return span


class Source(NamedTuple):
    """An audio input.

    Args:
        name: file, "-" for standard input, or `MICROPHONE`.
        content: content of standard input; None for a file.
        channel: index of the channel; None: the mean of all.
        label: name of its results.
    """

    name: str
    content: bytes | None
    channel: int | None
    label: str


MICROPHONE_INPUT = Source(MICROPHONE, None, None, MICROPHONE)


def list_sources(arguments: argparse.Namespace) -> Iterator[Source]:
    """Yield all inputs: files, or their channels.

    Raises:
        UserError: not an audio file, or it lacks the channel.
    """
    if arguments.microphone:
        yield MICROPHONE_INPUT
    for name in arguments.files:
        content = read_stdin() if name == "-" else None
        with open_audio(name, content) as audio:
            number = audio.channels
        for channel in select_channels(name, number, arguments.channel):
            label = f"{name}:{channel + 1}" if channel is not None and arguments.channel == ALL else name
            yield Source(name, content, channel, label)


def select_channels(name: str, number: int, choice: str) -> Sequence[int | None]:
    """Return the channels of a file to recognise; None is their mean.

    Args:
        name: name of the file.
        number: number of channels of the file.
        choice: value of --channel.

    Raises:
        UserError: the file has no such channel.
    """
    if choice == ALL:
        return range(number)
    if choice == MIX:
        if number > 1:
            print(f"{name}: the mean of {number} channels; --channel chooses one, or all", file=sys.stderr)
        return [None]
    if (index := channel_index(choice)) >= number:
        raise UserError(f"{name}: --channel {choice}, but the file has {number}")
    return [index]


def read_stdin() -> bytes:
    """Read standard input.

    Raises:
        UserError: it does not end within `STDIN_LIMIT` bytes.
    """
    content = sys.stdin.buffer.read(STDIN_LIMIT + 1)
    if len(content) > STDIN_LIMIT:
        raise UserError(f"-: more than {STDIN_LIMIT >> 20} MB on standard input; write it to a file and give its name")
    return content


@contextmanager
def open_audio(name: str, content: bytes | None) -> Iterator[AudioFile]:
    """Open an audio file, or the content of one.

    Raises:
        UserError: not an audio file.
    """
    try:
        with AudioFile(name if content is None else content) as audio:
            yield audio
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


def read_packets(source: Source, interrupted: Flag, span: Span = WHOLE) -> Iterator[Packet]:
    """Yield an audio input, or a range of it, in packets of 0.1 s of one channel, until `interrupted` is set."""
    if source is MICROPHONE_INPUT:
        return read_microphone(interrupted)
    return take_until(interrupted, read_file(source, span))


def read_file(source: Source, span: Span = WHOLE) -> Iterator[Packet]:
    """Yield a range of an audio file, as far as it has data; report if it is damaged.

    Raises:
        UserError: not an audio file, or it ends before the range.
    """
    with open_audio(source.name, source.content) as audio:
        blocks = audio.blocks(int(audio.rate * PACKET))
        try:
            for block in blocks_within(blocks, audio.rate, span):
                yield choose_channel(block, source.channel), audio.rate
        except UserError as error:
            raise UserError(f"{source.name}: {error}") from error
        if audio.problem:
            print(f"{source.name}: {audio.problem}", file=sys.stderr)

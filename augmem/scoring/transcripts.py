"""Transcripts in the formats of Kaldi and NIST: text, trn, CTM and STM.

    text   <utterance> <words>                                     Kaldi
    trn    <words> (<utterance>)                                   sclite; the speaker ends at the first - or _
    ctm    <recording> <channel> <start> <duration> <word> [<confidence>]
    stm    <recording> <channel> <speaker> <start> <end> [<label>] <words>

Lines that start with ;; are comments of the NIST formats. Their words can contain alternatives, { A / B C / @ }.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from augmem.errors import UserError

Format = Literal["text", "trn", "ctm", "stm"]
IGNORED = "IGNORE_TIME_SEGMENT_IN_SCORING"  # words of an STM segment that is not scored
_ALTERNATIVES = {"<ALT_BEGIN>": "{", "<ALT>": "/", "<ALT_END>": "}"}  # rows of a CTM file
_CHANNELS = {"A": "1", "B": "2"}


class Passage(NamedTuple):
    """Words of a transcript: an utterance, a segment of a recording, or a word of a CTM file.

    Attributes:
        name: utterance or recording.
        text: the words.
        speaker: name of the speaker; "unknown" where the format has none.
        channel: channel of the recording; "" where the format has none.
        start: begin in seconds; 0 where the format has no times.
        end: end in seconds; 0 where the format has no times.
    """

    name: str
    text: str
    speaker: str = "unknown"
    channel: str = ""
    start: float = 0.0
    end: float = 0.0


class Transcript(NamedTuple):
    """The passages of a file, in its order."""

    path: Path
    format: Format
    passages: list[Passage]


def read_transcript(path: Path, form: Format | None = None) -> Transcript:
    """Read a transcript.

    Args:
        path: the file.
        form: its format; None: that of its suffix, text if it is none of them.

    Raises:
        FileNotFoundError: no such file.
        UserError: a line has another format, or an utterance occurs twice.
    """
    chosen: Format = form or _format_of(path)
    passages = list(_READERS[chosen](path, _lines(path, comments=chosen != "text")))
    if not passages:
        raise UserError(f"{path}: no line of format {chosen}; --ref-format and --hyp-format choose another")
    return Transcript(path, chosen, passages)


def _format_of(path: Path) -> Format:
    suffix = path.suffix.removeprefix(".").lower()
    return next((form for form in get_args(Format) if form == suffix), "text")


def _lines(path: Path, comments: bool) -> Iterator[tuple[int, str]]:
    """Yield (number, line) of all lines that are not empty; with `comments`, those that start with ;; are left out."""
    for number, raw in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise UserError(f"{path}:{number}: not UTF-8; convert it: iconv -f latin1 -t utf-8") from error
        if line and not (comments and line.startswith(";;")):
            yield number, line


def _read_text(path: Path, lines: Iterator[tuple[int, str]]) -> Iterator[Passage]:
    seen: set[str] = set()
    for number, line in lines:
        name, _, text = line.replace("\t", " ").partition(" ")
        yield _new(path, number, Passage(name, text.strip()), seen)


def _read_trn(path: Path, lines: Iterator[tuple[int, str]]) -> Iterator[Passage]:
    seen: set[str] = set()
    for number, line in lines:
        match = re.fullmatch(r"(.*)\(([^()\s]+)\)", line)
        if match is None:
            raise UserError(f"{path}:{number}: expected words (utterance), found {line[:80]!r}")
        speaker = re.split("[-_]", match[2])[0]
        yield _new(path, number, Passage(match[2], match[1].strip(), speaker), seen)


def _new(path: Path, number: int, passage: Passage, seen: set[str]) -> Passage:
    if passage.name in seen:
        raise UserError(f"{path}:{number}: utterance {passage.name} occurs twice; delete one of its lines")
    seen.add(passage.name)
    return passage


def _read_stm(path: Path, lines: Iterator[tuple[int, str]]) -> Iterator[Passage]:
    for number, line in lines:
        fields = line.split(maxsplit=5)
        if len(fields) < 5:
            raise UserError(f"{path}:{number}: expected recording channel speaker start end words, found {line[:80]!r}")
        start, end = (_seconds(path, number, field) for field in fields[3:5])
        if end < start:
            raise UserError(f"{path}:{number}: the end {fields[4]} is before the start {fields[3]}")
        text = re.sub(r"^<[^>]*>\s*", "", fields[5] if len(fields) > 5 else "")
        yield Passage(fields[0], text, fields[2], _channel(fields[1]), start, end)


def _read_ctm(path: Path, lines: Iterator[tuple[int, str]]) -> Iterator[Passage]:
    group: list[Passage] = []  # the rows since <ALT_BEGIN>
    for number, line in lines:
        fields = line.split()
        if len(fields) < 5:
            raise UserError(f"{path}:{number}: expected recording channel start duration word, found {line[:80]!r}")
        name, channel, word = fields[0], _channel(fields[1]), fields[4]
        if word in _ALTERNATIVES:
            group.append(Passage(name, _ALTERNATIVES[word], "unknown", channel, math.inf))
        else:
            start, duration = (_seconds(path, number, field) for field in fields[2:4])
            group.append(Passage(name, word, "unknown", channel, start, start + duration))
        if group[0].text != "{" or word == "<ALT_END>":
            yield _join_words(group)
            group = []
    if group:
        raise UserError(f"{path}: <ALT_BEGIN> of {group[0].name} without <ALT_END>")


def _join_words(group: Sequence[Passage]) -> Passage:
    start, end = min(row.start for row in group), max(row.end for row in group)
    return group[0]._replace(text=" ".join(row.text for row in group), start=start, end=end)


def _seconds(path: Path, number: int, field: str) -> float:
    try:
        value = float(field)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(f"{path}:{number}: {field!r} is not a time in seconds")
    return value


def _channel(field: str) -> str:
    return _CHANNELS.get(field, field)


_READERS: dict[Format, Callable[[Path, Iterator[tuple[int, str]]], Iterator[Passage]]] = {
    "text": _read_text,
    "trn": _read_trn,
    "ctm": _read_ctm,
    "stm": _read_stm,
}

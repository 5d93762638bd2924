"""Segmentation of a long recording with an imperfect text into utterances for training.

The recording is recognised with a language model biased to the text; recognised words and text are aligned, and the
recording is divided at its pauses. Only pieces in which both agree are kept, as in Kaldi's segment_long_utterances
(Manohar, Povey and Khudanpur, "JHU Kaldi system for Arabic MGB-3", ASRU 2017).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from augmem.adaptation import adapt_package, from_package
from augmem.audio import AudioFile, choose_channel
from augmem.errors import UserError, check_option
from augmem.files import write_text
from augmem.lang import RESERVED_WORDS, Lang, biased_model, read_text, write_arpa
from augmem.scoring import WordPair, align_words
from augmem.streaming import Recognizer, RecognizerOptions, Word

MIN_WORDS_OF_TEXT = 3
SHORTER, MISSING, ADDED, DIFFERENT, LONG = (
    "short", "not in the text", "not in the recording", "other words", "long",
)  # fmt: skip
_BLOCK = 0.5  # seconds


@dataclass(frozen=True)
class SegmentConfig:
    """Options of segmentation.

    Args:
        longest: maximum duration of an utterance in seconds.
        pause: minimum duration of a pause at which the recording is cut, in seconds.
        padding: seconds kept before the first and after the last word of an utterance, at most half of the pause.
        fewest_words: minimum number of words of an utterance.

    Raises:
        UserError: a value is out of range.
    """

    longest: float = 30.0
    pause: float = 0.25
    padding: float = 0.15
    fewest_words: int = 2

    def __post_init__(self) -> None:
        for name in ("longest", "pause"):
            check_option(f"--{name}", getattr(self, name), getattr(self, name) > 0, "be more than 0 seconds")
        check_option("--padding", self.padding, self.padding >= 0, "be at least 0 seconds")
        check_option("--fewest-words", self.fewest_words, self.fewest_words >= 1, "be at least 1")


class Piece(NamedTuple):
    """A part of the recording between two pauses.

    Attributes:
        begin: begin of its first word in seconds.
        end: end of its last word.
        text: its words in the text.
        spoken: its recognised words.
        reason: why it cannot be used; "" if text and recognised words agree.
    """

    begin: float
    end: float
    text: tuple[str, ...]
    spoken: tuple[str, ...]
    reason: str = ""


class Segmentation(NamedTuple):
    """Utterances with the times of their audio, and the pieces that were dropped."""

    kept: list[Piece]
    dropped: list[Piece]


def segment_recording(audio: Path, text: Path, package: Path, output: Path, config: SegmentConfig) -> Segmentation:
    """Write utterances of a recording as a corpus folder: train.tsv, and dropped.tsv with reasons.

    Args:
        audio: the recording; its channels are averaged.
        text: its text.
        package: a packaged model of the language of the text.
        output: the folder.
        config: options.

    Raises:
        FileNotFoundError: a file is missing.
        UserError: a file cannot be read, the text is empty, or no utterance agrees with the recording.
    """
    if (output / "train.tsv").exists():
        raise UserError(f"{output / 'train.tsv'} exists; choose another folder, or delete it")
    words = read_words(text, Lang.load(from_package(package).lang))
    spoken, duration = recognise_recording(audio, words, package)
    found = divide(words, spoken, config, duration)
    if not found.kept:
        raise UserError(
            f"{audio}: no utterance agrees with {text}; check that the text belongs to the recording, and its language"
        )
    write_text(output / "train.tsv", _table(audio, found.kept))
    write_text(output / "dropped.tsv", _dropped_table(found.dropped))
    return found


def read_words(text: Path, lang: Lang) -> list[str]:
    """Return the normalised words of a text.

    Raises:
        FileNotFoundError: no such file.
        UserError: it has too few words.
    """
    found = (word for line in read_text(text, lang.normalisation) for word in line.split())
    words = [word for word in found if word not in RESERVED_WORDS]
    if len(words) < MIN_WORDS_OF_TEXT:
        raise UserError(f"{text}: {len(words)} words after normalisation; give the text of the recording")
    return words


def recognise_recording(audio: Path, words: Sequence[str], package: Path) -> tuple[list[Word], float]:
    """Recognise a recording with a language model biased to its text; return the words and its duration in seconds.

    Raises:
        UserError: the recording cannot be read.
    """
    with TemporaryDirectory() as name:
        work = Path(name)
        write_arpa(work / "biased.arpa", biased_model(words))
        adapt_package(from_package(package), work / "biased.arpa", None, work / "package")
        recognizer = Recognizer.load(work / "package", RecognizerOptions(), verify=False)
        try:
            with AudioFile(audio) as file:
                counted = _CountedBlocks(choose_channel(block, None) for block in file.blocks(int(_BLOCK * file.rate)))
                events = recognizer.transcribe(counted, file.rate)
                duration = counted.samples / file.rate
        except UserError as error:
            raise UserError(f"{audio}: {error}") from error
    return [word for event in events for word in event.words], duration


class _CountedBlocks:
    """Blocks of samples (n,), and their number of samples so far."""

    def __init__(self, blocks: Iterable[NDArray[np.float32]]) -> None:
        self.samples, self._blocks = 0, blocks

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        for block in self._blocks:
            self.samples += len(block)
            yield block


def divide(
    text: Sequence[str], spoken: Sequence[Word], config: SegmentConfig, duration: float = math.inf
) -> Segmentation:
    """Divide a recording at its pauses, and join the pieces in which text and recognised words agree.

    Args:
        text: words of the text.
        spoken: recognised words, in order of time.
        config: options.
        duration: duration of the recording, in seconds.
    """
    pieces = list(_pieces(text, spoken, config.pause))
    joined = [
        piece for good, group in groupby(pieces, lambda p: not p.reason) if good for piece in _join(group, config)
    ]
    checked = [piece._replace(reason=_check_limits(piece, config)) for piece in joined]
    padded = _pad([piece for piece in checked if not piece.reason], pieces, config.padding)
    dropped = [piece for piece in (*pieces, *checked) if piece.reason]
    padded = [piece._replace(end=min(piece.end, duration)) for piece in padded]
    return Segmentation(padded, sorted(dropped, key=lambda piece: piece.begin))


def _pieces(text: Sequence[str], spoken: Sequence[Word], pause: float) -> Iterator[Piece]:
    """Yield the parts between pauses. Words of the text at a pause that were not recognised belong to both sides."""
    steps = align_words(text, [word.text for word in spoken])
    groups: list[tuple[list[WordPair], list[Word]]] = [([], [])]
    words = iter(spoken)
    for step in steps:
        word = None if step.kind == "del" else next(words)
        if word and groups[-1][1] and word.start - groups[-1][1][-1].end >= pause:
            trailing = _trailing_deletions(groups[-1][0])
            groups.append((trailing, []))
        groups[-1][0].append(step)
        groups[-1][1].extend([word] if word else [])
    for found, timed in groups:
        if timed:
            ref, hyp = (tuple(word for word in side if word) for side in zip(*found, strict=True))
            yield Piece(timed[0].start, timed[-1].end, ref, hyp, _find_reason(found))


def _trailing_deletions(steps: Sequence[WordPair]) -> list[WordPair]:
    count = 0
    while count < len(steps) and steps[-1 - count].kind == "del":
        count += 1
    return list(steps[len(steps) - count :])


def _find_reason(steps: Sequence[WordPair]) -> str:
    kinds = {step.kind for step in steps} - {"hit"}
    if not kinds:
        return ""
    return MISSING if kinds == {"ins"} else ADDED if kinds == {"del"} else DIFFERENT


def _join(pieces: Iterable[Piece], config: SegmentConfig) -> Iterator[Piece]:
    """Join neighbours up to the maximum duration."""
    limit = config.longest - 2 * config.padding
    current: Piece | None = None
    for piece in pieces:
        if current and piece.end - current.begin <= limit:
            current = Piece(current.begin, piece.end, current.text + piece.text, current.spoken + piece.spoken)
            continue
        if current:
            yield current
        current = piece
    if current:
        yield current


def _check_limits(piece: Piece, config: SegmentConfig) -> str:
    if piece.end - piece.begin > config.longest:
        return LONG
    return SHORTER if len(piece.text) < config.fewest_words else ""


def _pad(kept: Sequence[Piece], pieces: Sequence[Piece], padding: float) -> list[Piece]:
    """Extend utterances into the pauses around them."""
    after = {one.end: (other.begin - one.end) / 2 for one, other in pairwise(pieces)}
    before = {other.begin: (other.begin - one.end) / 2 for one, other in pairwise(pieces)}
    return [
        piece._replace(
            begin=max(0.0, piece.begin - min(padding, before.get(piece.begin, padding))),
            end=piece.end + min(padding, after.get(piece.end, padding)),
        )
        for piece in kept
    ]


def _table(audio: Path, pieces: Sequence[Piece]) -> str:
    """Format the table of a corpus folder."""
    name = "_".join(audio.stem.split())
    rows = [
        f"{audio.resolve()}\t{' '.join(piece.text)}\t{name}\t{name}-{number:05}\t{piece.begin:.3f}\t{piece.end:.3f}"
        for number, piece in enumerate(pieces)
    ]
    return "\n".join(["audio\ttext\tspeaker\tid\tstart\tend", *rows]) + "\n"


def _dropped_table(pieces: Sequence[Piece]) -> str:
    rows = [
        f"{piece.begin:.3f}\t{piece.end:.3f}\t{piece.reason}\t{' '.join(piece.text)}\t{' '.join(piece.spoken)}"
        for piece in pieces
    ]
    return "\n".join(["start\tend\treason\ttext\trecognised", *rows]) + "\n"

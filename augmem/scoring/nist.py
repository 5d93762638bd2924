"""trn and ctm files of NIST sclite, and text files of Kaldi."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from augmem.files import write_text
from augmem.scoring.alignment import Utterance


@dataclass(frozen=True)
class TimedWord:
    """A word with its times in a recording.

    Args:
        recording: name of the recording (waveform in sclite).
        start: start time in seconds.
        duration: duration in seconds.
        word: the word.
        confidence: probability that the word is correct, from 0 to 1.
        channel: "A" or "1" for the first channel.
    """

    recording: str
    start: float
    duration: float
    word: str
    confidence: float = 1.0
    channel: str = "1"


def write_trn(path: Path, utterances: Iterable[Utterance], side: Literal["ref", "hyp"]) -> None:
    """Write lines "words (speaker-utterance)".

    Hyphens of speakers and white space become underscores, because sclite ends a speaker at the first hyphen.

    Args:
        path: file to write.
        utterances: the utterances.
        side: whether to write references or hypotheses.
    """
    lines = []
    for utterance in utterances:
        speaker = _name(utterance.speaker).replace("-", "_")
        words = utterance.ref if side == "ref" else utterance.hyp
        lines.append(" ".join([*words, f"({speaker}-{_name(utterance.id)})"]) + "\n")
    write_text(path, "".join(lines))


def write_kaldi_text(path: Path, utterances: Iterable[Utterance], side: Literal["ref", "hyp"]) -> None:
    """Write lines "utterance words", sorted by the bytes of the utterance id, as Kaldi requires.

    Args:
        path: file to write.
        utterances: references and hypotheses.
        side: the side to write.
    """
    texts = {utterance.id: utterance.ref if side == "ref" else utterance.hyp for utterance in utterances}
    lines = [" ".join([name, *texts[name]]) + "\n" for name in sorted(texts, key=str.encode)]
    write_text(path, "".join(lines))


def _name(text: str) -> str:
    """Replace white space and parentheses, which sclite does not allow in names."""
    return "_".join(text.split()).replace("(", "[").replace(")", "]")


def write_ctm(path: Path, words: Iterable[TimedWord]) -> None:
    """Write lines "recording channel start duration word confidence", sorted as sclite requires."""
    ordered = sorted(words, key=lambda word: (word.recording, word.channel, word.start))
    lines = [
        f"{_name(w.recording)} {w.channel} {w.start:.2f} {w.duration:.2f} {w.word} {w.confidence:.4f}\n"
        for w in ordered
    ]
    write_text(path, "".join(lines))

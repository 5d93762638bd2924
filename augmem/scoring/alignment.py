"""Which word was heard as which: alignments of reference and hypothesis, and the counts that follow.

kaldialign finds the alignment (fewest edits, every edit costs 1, as in Kaldi's compute-wer and icefall).
All figures of this room are counted from that one alignment, so tables, files and pictures always agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import kaldialign

GAP = ""  # stands where the other side has a word; no word can be empty, so it can be mistaken for none
Kind = Literal["hit", "sub", "del", "ins"]


class Step(NamedTuple):
    """One column of an alignment; `GAP` on the side that has no word."""

    ref: str
    hyp: str

    @property
    def kind(self) -> Kind:
        """What happened to the reference word here."""
        if self.ref == self.hyp:
            return "hit"
        if self.ref == GAP:
            return "ins"
        return "del" if self.hyp == GAP else "sub"


@dataclass(frozen=True)
class Counts:
    """Hits and the three kinds of error; they add up over utterances."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def words(self) -> int:
        """Length of the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def errors(self) -> int:
        """Edits that turn the reference into the hypothesis."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per reference word (0.25 is 25 %, above 1 is possible); NaN where there is no reference."""
        return self.errors / self.words if self.words else math.nan

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


@dataclass(frozen=True)
class Utterance:
    """What was said and what was recognised.

    Args:
        id: name of the utterance, unique within its part
        speaker: who said it
        ref: the reference, word by word, already normalised
        hyp: the recogniser's answer, word by word

    Raises:
        ValueError: a word is empty or holds white space, or a side is a string instead of words.
    """

    id: str
    speaker: str
    ref: Sequence[str]
    hyp: Sequence[str]

    def __post_init__(self) -> None:
        for side, words in (("ref", self.ref), ("hyp", self.hyp)):
            if isinstance(words, str):
                raise ValueError(f"utterance {self.id}: {side} is the string {words!r}; give text.split()")
            for word in words:
                if not word or word.split() != [word]:
                    raise ValueError(f"utterance {self.id}: {side} holds {word!r}, which is not one word")

    @cached_property
    def steps(self) -> list[Step]:
        """The alignment of reference and hypothesis."""
        return align(self.ref, self.hyp)

    @cached_property
    def counts(self) -> Counts:
        """Hits and errors of this utterance."""
        return count(self.steps)


def align(ref: Sequence[str], hyp: Sequence[str]) -> list[Step]:
    """Align two word sequences with the fewest edits; neither may hold the empty word."""
    return [Step(*pair) for pair in kaldialign.align(ref, hyp, GAP)]


def count(steps: Iterable[Step]) -> Counts:
    """Count hits and errors in an alignment."""
    kinds = [step.kind for step in steps]
    return Counts(kinds.count("hit"), kinds.count("sub"), kinds.count("del"), kinds.count("ins"))


def total(counts: Iterable[Counts]) -> Counts:
    """Sum of counts."""
    return sum(counts, Counts())


def as_characters(utterance: Utterance) -> Utterance:
    """The utterance letter by letter, without spaces, as icefall counts CER: its WER is the CER."""
    ref, hyp = list("".join(utterance.ref)), list("".join(utterance.hyp))
    return Utterance(utterance.id, utterance.speaker, ref, hyp)


def merge_errors(steps: Sequence[Step]) -> list[tuple[str, str]]:
    """Join neighbouring errors into pairs of phrases; a hit stays a pair of equal words.

    "(EDISON->ADD IS ON)" is easier to read than three errors whose order is an accident of the alignment.
    A side without words is `GAP`.
    """
    merged: list[tuple[list[str], list[str]]] = []
    in_error = False
    for step in steps:
        hit = step.kind == "hit"
        if hit or not in_error:
            merged.append(([], []))
        for phrase, word in zip(merged[-1], step, strict=True):
            phrase.extend([word] if word != GAP else [])
        in_error = not hit
    return [(" ".join(ref), " ".join(hyp)) for ref, hyp in merged]


def readable(utterance: Utterance, width: int = 100) -> str:
    """Reference above hypothesis, words in columns, S, D and I below the errors; long lines are folded.

    Args:
        utterance: what to show
        width: characters in a line, beyond which the next words go into a new block
    """
    marks = {"hit": "", "sub": "S", "del": "D", "ins": "I"}
    columns = [(step.ref, step.hyp, marks[step.kind]) for step in utterance.steps]
    counts = utterance.counts
    head = (
        f"{utterance.id} ({utterance.speaker}): {counts.errors} errors in {counts.words} words "
        f"({counts.insertions} ins, {counts.deletions} del, {counts.substitutions} sub)"
    )
    return "\n".join([head, *(_block(block) for block in _fold(columns, width - 5))])


def _fold(columns: Sequence[tuple[str, str, str]], width: int) -> list[list[tuple[str, str, str]]]:
    """Cut columns into blocks of at most `width` characters, at least one column in each."""
    blocks: list[list[tuple[str, str, str]]] = []
    room = 0
    for column in columns:
        needed = max(map(len, column)) + 1
        if not blocks or needed > room:
            blocks.append([])
            room = width
        blocks[-1].append(column)
        room -= needed
    return blocks


def _block(columns: Sequence[tuple[str, str, str]]) -> str:
    """Three lines REF, HYP and marks; a missing word is shown by asterisks, as sclite does."""
    lines = ["REF:", "HYP:", "    "]
    for ref, hyp, mark in columns:
        width = max(len(ref), len(hyp), 1)
        cells = (ref or "*" * width, hyp or "*" * width, mark)
        lines = [f"{line} {cell:<{width}}" for line, cell in zip(lines, cells, strict=True)]
    return "\n".join(line.rstrip() for line in lines)

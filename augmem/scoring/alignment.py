"""Alignment of reference and hypothesis, and error counts.

kaldialign computes the alignment with the fewest edits; all edits cost 1, as in Kaldi's compute-wer and icefall.
All error counts of `augmem.scoring` are computed from this alignment, so tables, files and the report agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import kaldialign

GAP = ""  # the side without a word; words are never empty
EditType = Literal["hit", "sub", "del", "ins"]


class WordPair(NamedTuple):
    """One column of an alignment; `GAP` on the side without a word."""

    ref: str
    hyp: str

    @property
    def kind(self) -> EditType:
        """The type of the edit, or "hit"."""
        if self.ref == self.hyp:
            return "hit"
        if self.ref == GAP:
            return "ins"
        return "del" if self.hyp == GAP else "sub"


@dataclass(frozen=True)
class Counts:
    """Hits and errors by type.

    Example:
        >>> Counts(hits=8, substitutions=2).rate
        0.2
    """

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def words(self) -> int:
        """Number of reference words."""
        return self.hits + self.substitutions + self.deletions

    @property
    def errors(self) -> int:
        """Number of edits that turn the reference into the hypothesis."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per reference word (0.25 is 25 %; can exceed 1); NaN without reference words."""
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
    """Reference and hypothesis of one utterance.

    Args:
        id: name of the utterance, unique within its part.
        speaker: name of the speaker.
        ref: words of the normalised reference.
        hyp: words of the hypothesis.
        session: chapter or recording that contains the utterance; "" if unknown.
        alignment: the alignment of `ref` and `hyp`; None: the one with the fewest edits.

    Raises:
        ValueError: a word is empty or contains white space, or `ref` or `hyp` is a string.

    Example:
        >>> Utterance("u1", "JOE", ["HELLO", "THERE"], ["HELLO"]).counts.deletions
        1
    """

    id: str
    speaker: str
    ref: Sequence[str]
    hyp: Sequence[str]
    session: str = ""
    alignment: Sequence[WordPair] | None = None

    def __post_init__(self) -> None:
        for side, words in (("ref", self.ref), ("hyp", self.hyp)):
            if isinstance(words, str):
                raise ValueError(f"utterance {self.id}: {side} is the string {words!r}; pass text.split()")
            for word in words:
                if not word or word.split() != [word]:
                    raise ValueError(f"utterance {self.id}: {side} contains {word!r}, which is not one word")

    @cached_property
    def steps(self) -> list[WordPair]:
        """The alignment of reference and hypothesis."""
        return align(self.ref, self.hyp) if self.alignment is None else list(self.alignment)

    @cached_property
    def counts(self) -> Counts:
        """Hits and errors of the utterance."""
        return count(self.steps)


def align(ref: Sequence[str], hyp: Sequence[str]) -> list[WordPair]:
    """Align two word sequences with the fewest edits; words must not be empty."""
    return [WordPair(*pair) for pair in kaldialign.align(ref, hyp, GAP)]


def count(steps: Iterable[WordPair]) -> Counts:
    """Count hits and errors of an alignment."""
    kinds = [step.kind for step in steps]
    return Counts(kinds.count("hit"), kinds.count("sub"), kinds.count("del"), kinds.count("ins"))


def total(counts: Iterable[Counts]) -> Counts:
    """Add up counts."""
    return sum(counts, Counts())


def as_characters(utterance: Utterance) -> Utterance:
    """Split an utterance into characters without spaces, as icefall does for CER: the WER of the result is the CER."""
    ref, hyp = list("".join(utterance.ref)), list("".join(utterance.hyp))
    return replace(utterance, ref=ref, hyp=hyp, alignment=None)


def merge_errors(steps: Sequence[WordPair]) -> list[tuple[str, str]]:
    """Join adjacent errors into pairs of phrases, such as ("EDISON", "ADD IS ON"); hits stay pairs of equal words.

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


def format_alignment(utterance: Utterance, width: int = 100) -> str:
    """Format an utterance as three lines: reference, hypothesis, and marks S, D or I below errors.

    Args:
        utterance: the utterance.
        width: maximum line length in characters; longer utterances are wrapped.
    """
    marks = {"hit": "", "sub": "S", "del": "D", "ins": "I"}
    columns = [(step.ref, step.hyp, marks[step.kind]) for step in utterance.steps]
    counts = utterance.counts
    head = (
        f"{utterance.id} ({utterance.speaker}): {counts.errors} errors in {counts.words} words "
        f"({counts.insertions} ins, {counts.deletions} del, {counts.substitutions} sub)"
    )
    return "\n".join([head, *(_block(block) for block in _wrap(columns, width - 5))])


def _wrap(columns: Sequence[tuple[str, str, str]], width: int) -> list[list[tuple[str, str, str]]]:
    """Split columns into blocks of at most `width` characters and at least one column."""
    blocks: list[list[tuple[str, str, str]]] = []
    remaining = 0
    for column in columns:
        needed = max(map(len, column)) + 1
        if not blocks or needed > remaining:
            blocks.append([])
            remaining = width
        blocks[-1].append(column)
        remaining -= needed
    return blocks


def _block(columns: Sequence[tuple[str, str, str]]) -> str:
    """Format the lines REF, HYP and marks; asterisks mark a missing word, as in sclite."""
    lines = ["REF:", "HYP:", "    "]
    for ref, hyp, mark in columns:
        width = max(len(ref), len(hyp), 1)
        cells = (ref or "*" * width, hyp or "*" * width, mark)
        lines = [f"{line} {cell:<{width}}" for line, cell in zip(lines, cells, strict=True)]
    return "\n".join(line.rstrip() for line in lines)

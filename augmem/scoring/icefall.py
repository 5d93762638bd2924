"""recogs- and errs- files in the format of icefall.

- recogs-<part>-<system>.txt: two lines per utterance, "<name>:<tab>ref=[...]" and "<name>:<tab>hyp=[...]"
- errs-<part>-<system>.txt: WER, counts, then utterances, substitutions, deletions, insertions and words
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from augmem.errors import UserError
from augmem.files import write_text
from augmem.scoring.alignment import GAP, Utterance, WordPair, merge_errors, total

Key = TypeVar("Key", str, tuple[str, str])
MISSING = "*"  # mark of icefall for a missing word


@dataclass
class Confusions:
    """Numbers of hits and errors by word.

    Args:
        substitutions: (reference word, hypothesis word) -> count.
        deletions: reference word -> count.
        insertions: hypothesis word -> count.
        hits: word -> count.
    """

    substitutions: Counter[tuple[str, str]] = field(default_factory=Counter)
    deletions: Counter[str] = field(default_factory=Counter)
    insertions: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)

    def add(self, step: WordPair) -> None:
        """Count one column of an alignment."""
        match step.kind:
            case "hit":
                self.hits[step.ref] += 1
            case "sub":
                self.substitutions[step] += 1
            case "del":
                self.deletions[step.ref] += 1
            case "ins":
                self.insertions[step.hyp] += 1


def confusions(utterances: Iterable[Utterance]) -> Confusions:
    """Count hits and errors by word."""
    counts = Confusions()
    for utterance in utterances:
        for step in utterance.steps:
            counts.add(step)
    return counts


def write_recogs(path: Path, utterances: Iterable[Utterance]) -> None:
    """Write a recogs file: references and hypotheses."""
    lines = [
        f"{utterance.id}:\t{side}={list(words)}\n"
        for utterance in utterances
        for side, words in (("ref", utterance.ref), ("hyp", utterance.hyp))
    ]
    write_text(path, "".join(lines))


def read_recogs(path: Path, speakers: dict[str, str] | None = None) -> list[Utterance]:
    """Read a recogs file, of this project or of icefall.

    Args:
        path: the file.
        speakers: utterance -> speaker; the format has no speakers. Missing speakers are "unknown".

    Raises:
        UserError: a line has another format, with file and line number.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {number}: not UTF-8; decode or score again") from error
    if len(lines) % 2:
        raise UserError(f"{path}: {len(lines)} lines, an odd number; the ref= or hyp= line of an utterance is missing")
    utterances = []
    for number in range(0, len(lines), 2):
        utterance, ref = _recogs_line(path, number + 1, lines[number], "ref")
        same, hyp = _recogs_line(path, number + 2, lines[number + 1], "hyp")
        if utterance != same:
            raise UserError(f"{path}, line {number + 2}: hyp= of {same!r} follows ref= of {utterance!r}")
        utterances.append(Utterance(utterance, (speakers or {}).get(utterance, "unknown"), ref, hyp))
    return utterances


def _recogs_line(path: Path, number: int, line: str, side: str) -> tuple[str, list[str]]:
    """Parse a line; return utterance id and words."""
    match = re.fullmatch(rf"(.+):\t{side}=(\[.*\])", line)
    try:
        words = ast.literal_eval(match.group(2)) if match else None
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        words = None
    if match is None or not isinstance(words, list) or not all(_is_word(word) for word in words):
        expected = f"<utterance>:<tab>{side}=[words]"
        raise UserError(f"{path}, line {number}: expected {expected!r}, found {line[:80]!r}")
    return match.group(1), words


def _is_word(value: object) -> bool:
    return isinstance(value, str) and value.split() == [value]


def write_errs(path: Path, utterances: Sequence[Utterance]) -> None:
    """Write an errs file: error statistics."""
    counts = confusions(utterances)
    substitutions = (f"{n}   {ref} -> {hyp}" for n, (ref, hyp) in _sort_counts(counts.substitutions))
    sections = [
        _summary(utterances),
        ["PER-UTT DETAILS: corr or (ref->hyp)  ", *(f"{u.id}:\t{_details(u.steps)}" for u in utterances)],
        ["SUBSTITUTIONS: count ref -> hyp", *substitutions],
        ["DELETIONS: count ref", *(f"{n}   {word}" for n, word in _sort_counts(counts.deletions))],
        ["INSERTIONS: count hyp", *(f"{n}   {word}" for n, word in _sort_counts(counts.insertions))],
        ["PER-WORD STATS: word  corr tot_errs count_in_ref count_in_hyp", *_per_word(counts)],
    ]
    write_text(path, "\n\n".join("\n".join(section) for section in sections) + "\n")


def _summary(utterances: Sequence[Utterance]) -> list[str]:
    """Return the first three lines: WER, counts, list of sections."""
    counts = total(utterance.counts for utterance in utterances)
    return [
        f"%WER = {100 * counts.rate:.2f}",
        f"Errors: {counts.insertions} insertions, {counts.deletions} deletions, "
        f"{counts.substitutions} substitutions, over {counts.words} reference words ({counts.hits} correct)",
        "Search below for sections starting with PER-UTT DETAILS:, SUBSTITUTIONS:, DELETIONS:, "
        "INSERTIONS:, PER-WORD STATS:",
    ]


def _details(steps: Sequence[WordPair]) -> str:
    """Format an utterance as one line; errors are (reference->hypothesis)."""
    return " ".join(ref if ref == hyp else f"({ref or MISSING}->{hyp or MISSING})" for ref, hyp in merge_errors(steps))


def _sort_counts(counter: Counter[Key]) -> list[tuple[int, Key]]:
    """Return (count, key), highest counts first; ties in reverse alphabetical order, as in icefall."""
    return sorted(((n, key) for key, n in counter.items()), reverse=True)


def _per_word(counts: Confusions) -> list[str]:
    """Return a line per word: hits, errors, occurrences in the references and in the hypotheses."""
    sub_ref: Counter[str] = Counter()
    sub_hyp: Counter[str] = Counter()
    for (ref, hyp), n in counts.substitutions.items():
        sub_ref[ref] += n
        sub_hyp[hyp] += n
    errors = sub_ref + sub_hyp + counts.insertions + counts.deletions
    ranked = sorted(((errors[word], word) for word in errors | counts.hits), reverse=True)
    return [
        f"{word}   {counts.hits[word]} {n} {counts.hits[word] + sub_ref[word] + counts.deletions[word]} "
        f"{counts.hits[word] + sub_hyp[word] + counts.insertions[word]}"
        for n, word in ranked
        if word != GAP
    ]

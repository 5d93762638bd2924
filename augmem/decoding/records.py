"""What is decoded and what comes out: utterances, hypotheses, and the n-best files that hold them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from augmem.files import atomic_path

NBEST_FILE = "nbest.jsonl.gz"


@dataclass(frozen=True)
class Utterance:
    """One utterance to decode.

    Args:
        id: unique within its part.
        reference: its transcript's words.
        speaker: who says it.
        duration: seconds.
    """

    id: str
    reference: tuple[str, ...]
    speaker: str
    duration: float


@dataclass(frozen=True)
class Hypothesis:
    """One word sequence and what speaks for it, as natural logarithms without any scale.

    Args:
        words: the words.
        am: acoustic score, summed over all alignments in the lattice.
        lm_first: the decoding graph's score on the best alignment: first-pass LM, pronunciations and silence.
        lm_rescore: the rescoring LM's log-probability of the sentence; None if there was no such LM.
    """

    words: tuple[str, ...]
    am: float
    lm_first: float
    lm_rescore: float | None = None


@dataclass(frozen=True)
class NbestEntry:
    """One line of an n-best file.

    Args:
        utterance: what was decoded.
        search: how its lattice was found (`augmem.decoding.search.Search`).
        density: arcs of the lattice per frame.
        hypotheses: the first pass's best first; empty only if the search failed altogether.
    """

    utterance: Utterance
    search: str
    density: float
    hypotheses: tuple[Hypothesis, ...]

    def to_json(self) -> str:
        """One line, words joined by blanks."""
        value = {**asdict(self.utterance), "search": self.search, "density": round(self.density, 1)}
        value["ref"] = " ".join(value.pop("reference"))
        value["hypotheses"] = [{**asdict(h), "words": " ".join(h.words)} for h in self.hypotheses]
        return json.dumps(value, ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> NbestEntry:
        """The inverse of `to_json`; KeyError or TypeError on a line of another kind."""
        value: dict[str, Any] = json.loads(text)
        listed = [Hypothesis(**{**h, "words": tuple(h["words"].split())}) for h in value["hypotheses"]]
        utterance = Utterance(value["id"], tuple(value["ref"].split()), value["speaker"], value["duration"])
        return NbestEntry(utterance, value["search"], value["density"], tuple(listed))


def write_nbest(folder: Path, entries: Iterable[NbestEntry]) -> None:
    """Write a part's n-best file; equal entries give equal bytes (no time stamp inside)."""
    with (
        atomic_path(folder / NBEST_FILE) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
    ):
        for entry in entries:
            packed.write((entry.to_json() + "\n").encode())


def read_nbest(folder: Path) -> Iterator[NbestEntry]:
    """Read a part's n-best file.

    Raises:
        FileNotFoundError: that part has not been decoded.
        ValueError: a line is broken; the message names it.
    """
    path = folder / NBEST_FILE
    if not path.exists():
        raise FileNotFoundError(f"{path}: this part has not been decoded; run the decode stage")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield NbestEntry.from_json(line)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{path}:{number}: not an n-best line ({error}); run the decode stage again"
                ) from error

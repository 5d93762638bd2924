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
FIRST_PASS, RESCORED, NEURAL = "first_pass", "rescored", "neural"


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
        am: acoustic score; in the first pass summed over all alignments in the lattice, else of the best one.
        lm: in the first pass the decoding graph's score on the best alignment (language model, pronunciations and
            silence), in rescored lists the larger language model's log-probability of the sentence, in neural ones
            its mean with the neural model's.
        times: begin and end of each word in seconds, on the best alignment.
    """

    words: tuple[str, ...]
    am: float
    lm: float
    times: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class NbestEntry:
    """One line of an n-best file.

    Args:
        utterance: what was decoded.
        search: how its lattice was found (`augmem.decoding.search.Search`).
        density: arcs of the lattice per frame.
        oracle_errors: word errors of the lattice's path nearest to the reference.
        lists: FIRST_PASS's hypotheses, RESCORED's if there is a larger language model, then NEURAL's if there is one of
            those too; the best first, none only if the search failed altogether.
    """

    utterance: Utterance
    search: str
    density: float
    oracle_errors: int
    lists: dict[str, tuple[Hypothesis, ...]]

    def to_json(self) -> str:
        """One line, words joined by blanks."""
        value = {**asdict(self.utterance), "search": self.search, "density": round(self.density, 1)}
        value["oracle_errors"] = self.oracle_errors
        value["ref"] = " ".join(value.pop("reference"))
        value["lists"] = {
            system: [{**vars(h), "words": " ".join(h.words)} for h in listed] for system, listed in self.lists.items()
        }
        return json.dumps(value, ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> NbestEntry:
        """The inverse of `to_json`; KeyError or TypeError on a line of another kind."""
        value: dict[str, Any] = json.loads(text)
        lists = {
            system: tuple(Hypothesis(tuple(h["words"].split()), h["am"], h["lm"], pairs(h["times"])) for h in listed)
            for system, listed in value["lists"].items()
        }
        utterance = Utterance(value["id"], tuple(value["ref"].split()), value["speaker"], value["duration"])
        return NbestEntry(utterance, value["search"], value["density"], value["oracle_errors"], lists)


def pairs(times: list[list[float]]) -> tuple[tuple[float, float], ...]:
    """JSON knows no tuples."""
    return tuple((begin, end) for begin, end in times)


def write_nbest(folder: Path, entries: Iterable[NbestEntry]) -> None:
    """Write a part's n-best file."""
    write_text_gz(folder / NBEST_FILE, (entry.to_json() + "\n" for entry in entries))


def write_text_gz(path: Path, texts: Iterable[str]) -> None:
    """Write texts, one after the other; equal ones give equal bytes (no time stamp inside)."""
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
    ):
        for text in texts:
            packed.write(text.encode())


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

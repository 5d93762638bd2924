"""N-best lists and their files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from augmem.errors import UserError
from augmem.files import atomic_path, explain_damaged_file

NBEST_FILE = "nbest.jsonl.gz"
FIRST_PASS, RESCORED, NEURAL = "first_pass", "rescored", "neural"


class UtteranceKey(NamedTuple):
    """Identity of an utterance: its part, and its id, which is unique within the part."""

    part: str
    id: str


@dataclass(frozen=True)
class Hypothesis:
    """A word sequence with unscaled scores (natural logarithms).

    Args:
        words: the words.
        am: acoustic score; in first-pass lists summed over all alignments in the lattice, else of the best alignment.
        lm: first-pass lists: score of the decoding graph (language model, pronunciations and silence) on the best
            alignment. In rescored lists the rescoring LM replaces the first-pass LM; in neural lists the mean of the
            rescoring LM and the neural LM does.
        times: begin and end of each word in seconds, on the best alignment.
    """

    words: tuple[str, ...]
    am: float
    lm: float
    times: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class NbestEntry:
    """The n-best lists of one utterance: one line of an n-best file.

    Args:
        key: the utterance.
        duration: seconds.
        search: name of the search that found its lattice (`augmem.decoding.Search`).
        density: lattice arcs per frame.
        lists: FIRST_PASS -> hypotheses; also RESCORED with a rescoring LM, and NEURAL with a neural LM. Best hypothesis
            first; empty if the search failed.
    """

    key: UtteranceKey
    duration: float
    search: str
    density: float
    lists: dict[str, tuple[Hypothesis, ...]]

    def to_json(self) -> str:
        """Format as one line of JSON without the part; words are joined by blanks."""
        lists = {
            system: [{**vars(h), "words": " ".join(h.words)} for h in listed] for system, listed in self.lists.items()
        }
        head = {"id": self.key.id, "duration": self.duration, "search": self.search, "density": round(self.density, 1)}
        return json.dumps({**head, "lists": lists}, ensure_ascii=False)

    @staticmethod
    def from_json(part: str, text: str) -> NbestEntry:
        """Parse a line of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: the line has another format.
        """
        value: dict[str, Any] = json.loads(text)
        lists = {
            system: tuple(Hypothesis(tuple(h["words"].split()), h["am"], h["lm"], as_pairs(h["times"])) for h in listed)
            for system, listed in value["lists"].items()
        }
        key = UtteranceKey(part, value["id"])
        return NbestEntry(key, value["duration"], value["search"], value["density"], lists)


def as_pairs(times: list[list[float]]) -> tuple[tuple[float, float], ...]:
    """Convert JSON lists to tuples."""
    return tuple((begin, end) for begin, end in times)


def write_nbest(folder: Path, entries: Iterable[NbestEntry]) -> None:
    """Write the n-best file of a part into its folder."""
    write_blocks(folder / NBEST_FILE, (compress_text(entry.to_json() + "\n") for entry in entries))


def compress_text(text: str) -> bytes:
    """Compress text to one gzip member without a time stamp, so that equal texts give equal bytes."""
    return gzip.compress(text.encode(), compresslevel=5, mtime=0)


def write_blocks(path: Path, blocks: Iterable[bytes]) -> None:
    """Write bytes to a file atomically; gzip members one after the other are one gzip file."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.writelines(blocks)


def read_nbest(decode_dir: Path, part: str) -> Iterator[NbestEntry]:
    """Read the n-best file of a part.

    Raises:
        FileNotFoundError: the part has not been decoded.
        UserError: a line has another format; the message names it.
    """
    path = decode_dir / part / NBEST_FILE
    if not path.exists():
        raise FileNotFoundError(f"{path}: this part has not been decoded; run stage decode")
    remedy = "run stage decode again"
    with explain_damaged_file(path, remedy), gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield NbestEntry.from_json(part, line)
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"{path}:{number}: not an n-best line ({error}); {remedy}") from error

"""All problems of a corpus at once, found by the checks of stage corpus and by decoding all audio."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lhotse import RecordingSet, SupervisionSet
from lhotse.cut import MonoCut

from augmem.corpus.audio import read_samples
from augmem.corpus.limits import Limits
from augmem.corpus.manifests import Described, describe_part, make_cuts
from augmem.corpus.prepare import CorpusConfig, check_names, open_corpus
from augmem.corpus.reader import CorpusReader
from augmem.errors import UserError
from augmem.lang import ENGLISH, Normalisation
from augmem.progress import track
from augmem.skipped import SkipLog


@dataclass
class Problems(SkipLog):
    """A log that collects errors too, instead of raising them.

    Args:
        messages: errors, with file, line and remedy.
    """

    messages: list[str] = field(default_factory=list)

    def error(self, message: str) -> None:
        self.messages.append(message)

    def all(self) -> list[str]:
        """Return the errors, which stop stage corpus, then the reasons for which it skips utterances."""
        return self.messages + [f"{item.detail} ({item.reason}: {item.id})" for item in self]


def validate_corpus(config: CorpusConfig, download: Path, parts: Sequence[str] = ()) -> Iterator[tuple[str, list[str]]]:
    """Yield every part with all its problems.

    Args:
        config: format, path and limits.
        download: folder for unpacked audio.
        parts: parts to check; empty: all.

    Raises:
        FileNotFoundError: the corpus is missing.
        UserError: the corpus has no such part.
    """
    reader = open_corpus(config, download)
    check_names(tuple(parts), reader)
    for part in parts or reader.names():
        yield part, validate_part(reader, part, config.limits, config.rules)


def validate_part(reader: CorpusReader, part: str, limits: Limits, rules: Normalisation = ENGLISH) -> list[str]:
    """Return all problems of a part."""
    problems = Problems()
    pairs: list[Described] = []
    try:
        pairs = describe_part(part, reader.utterances(part, problems), problems, limits, rules)
    except (UserError, OSError) as error:  # a whole file is missing
        problems.error(str(error))
    if not pairs and not problems.all():
        problems.error(f"part {part}: it has no utterances; add some, or remove it")
    if pairs:
        recordings = RecordingSet.from_recordings({recording.id: recording for recording, _ in pairs}.values())
        cuts = make_cuts(recordings, SupervisionSet.from_segments(supervision for _, supervision in pairs))
        _decode_all(part, list(cuts), problems)
    return problems.all()


def _decode_all(part: str, cuts: list[MonoCut], problems: Problems) -> None:
    with ThreadPoolExecutor() as pool:
        messages = track(pool.map(_audio_problem, cuts), f"audio of {part}", total=len(cuts), unit="utterances")
        for cut, message in zip(cuts, messages, strict=True):
            if message:
                problems.add(cut.id, "unreadable audio", message)


def _audio_problem(cut: MonoCut) -> str:
    try:
        read_samples(cut)
    except UserError as error:
        return str(error)
    return ""

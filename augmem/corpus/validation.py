"""All that is wrong with a corpus, at once: the recipes' own checks, which here collect what elsewhere they raise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.cut import MonoCut
from tqdm import tqdm

from augmem.corpus.features import read_samples
from augmem.corpus.limits import Limits
from augmem.corpus.manifests import cuts_of, describe_part
from augmem.corpus.prepare import CorpusConfig, open_source
from augmem.corpus.skips import SkipList
from augmem.corpus.source import Source


@dataclass
class Findings(SkipList):
    """A list of skips that also keeps what would stop the corpus stage.

    Args:
        messages: each names file, line, fault and remedy.
    """

    messages: list[str] = field(default_factory=list)

    def fault(self, message: str) -> None:
        self.messages.append(message)

    def all(self) -> list[str]:
        """First what stops the corpus stage, then what is left out by it."""
        return self.messages + [f"{skip.detail} ({skip.reason}: {skip.id})" for skip in self]


def validate_corpus(config: CorpusConfig, download: Path, parts: Sequence[str] = ()) -> Iterator[tuple[str, list[str]]]:
    """Every part with all its faults; every audio file is decoded to its end.

    Args:
        config: recipe, source and limits.
        download: where fetched corpora lie.
        parts: which parts; none: all.

    Raises:
        FileNotFoundError: there is no corpus.
        ValueError: it has no such part.
    """
    source = open_source(config, download)
    if unknown := sorted({*parts} - {*source.names()}):
        raise ValueError(f"no part {', '.join(unknown)} in this corpus; it has: {', '.join(source.names())}")
    for part in parts or source.names():
        yield part, validate_part(source, part, config.limits)


def validate_part(source: Source, part: str, limits: Limits) -> list[str]:
    """All faults of one part."""
    findings = Findings()
    pairs: list[tuple[Recording, SupervisionSegment]] = []
    try:
        pairs = describe_part(part, source.utterances(part, findings), findings, limits)
    except (ValueError, OSError) as error:  # a whole file is missing
        findings.fault(str(error))
    if not pairs and not findings.all():
        findings.fault(f"part {part}: there is no utterance in it; add some, or take it away")
    if pairs:
        recordings = RecordingSet.from_recordings({recording.id: recording for recording, _ in pairs}.values())
        cuts = cuts_of(recordings, SupervisionSet.from_segments(supervision for _, supervision in pairs))
        with ThreadPoolExecutor() as pool:
            found = pool.map(_audio_fault, cuts)
            for cut, fault in zip(
                cuts, tqdm(found, desc=f"audio of {part}", total=len(cuts), leave=False), strict=True
            ):
                if fault:
                    findings.add(cut.id, "unreadable audio", fault)
    return findings.all()


def _audio_fault(cut: MonoCut) -> str:
    try:
        read_samples(cut)
    except ValueError as error:
        return str(error)
    return ""

"""All problems of a corpus at once, found by the checks of stage corpus and by decoding all audio."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from lhotse import RecordingSet, SupervisionSet
from lhotse.cut import MonoCut

from augmem.corpus.audio import AudioError, read_samples
from augmem.corpus.limits import Limits
from augmem.corpus.manifests import Described, describe_part, make_cuts
from augmem.corpus.prepare import CorpusConfig, check_names, open_corpus
from augmem.corpus.reader import CorpusReader
from augmem.errors import UserError
from augmem.lang import ENGLISH, Normalisation
from augmem.progress import track
from augmem.skipped import SkipLog

logger = logging.getLogger(__name__)


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
    held_out = {*reader.defaults().dev, *reader.defaults().test}
    for part in parts or reader.names():
        limits = Limits(longest=None) if part in held_out else config.limits
        yield part, validate_part(reader, part, limits, config.rules)


def validate_part(reader: CorpusReader, part: str, limits: Limits, rules: Normalisation = ENGLISH) -> list[str]:
    """Return all problems of a part.

    Args:
        reader: reader of the corpus.
        part: name of the part.
        limits: limits of duration and speaking rate.
        rules: text normalisation.
    """
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
    loud: list[tuple[float, MonoCut]] = []
    with ThreadPoolExecutor() as pool:
        messages = track(pool.map(_peak, cuts), f"audio of {part}", total=len(cuts), unit="utterances")
        for cut, found in zip(cuts, messages, strict=True):
            if isinstance(found, AudioError):
                problems.add(cut.id, found.reason, str(found))
            elif found > 1.0:
                loud.append((found, cut))
    if loud:
        peak, cut = max(loud, key=lambda item: item[0])
        path = cut.recording.sources[0].source
        logger.warning(
            "part %s: %d utterances have samples above full scale, up to %.2f (%s)", part, len(loud), peak, path
        )


def _peak(cut: MonoCut) -> float | AudioError:
    try:
        return float(np.abs(read_samples(cut)).max(initial=0.0))
    except AudioError as error:
        return error

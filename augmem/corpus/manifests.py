"""Lhotse manifests of a part, made from its utterances and checked."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from lhotse import (
    CutSet,
    Recording,
    RecordingSet,
    SupervisionSegment,
    SupervisionSet,
    validate_recordings_and_supervisions,
)
from lhotse.cut import Cut

from augmem.corpus.audio import AudioError, describe_audio
from augmem.corpus.limits import Limits
from augmem.corpus.sessions import SESSION
from augmem.errors import UserError
from augmem.files import explain_damaged_file
from augmem.lang import BRACKETS, ENGLISH, LETTERS, Losses, Normalisation, format_losses
from augmem.progress import track
from augmem.skipped import SKIPPED_FILE, SkipLog, SkippedUtterance

logger = logging.getLogger(__name__)

RECORDINGS = "recordings.jsonl.gz"
SUPERVISIONS = "supervisions.jsonl.gz"
MIN_RATE = 8000  # Hz, telephone speech
FILE, CHANNEL = "file", "channel"  # custom fields of a supervision
_DURATION_TOLERANCE = 0.1  # s, between the duration that a corpus states and the file's

Manifest = TypeVar("Manifest", RecordingSet, SupervisionSet, CutSet)
Described = tuple[Recording, SupervisionSegment]


@dataclass(frozen=True)
class CorpusUtterance:
    """An utterance as described by a corpus, before its audio is read.

    Args:
        id: unique in its part.
        audio: audio file.
        text: transcript as written.
        speaker: name of the speaker.
        origin: location of the transcript, `file:line`, for messages.
        start: begin in the file, in seconds.
        end: end in the file, in seconds; None: the end of the file.
        seconds: duration of the file as stated by the corpus; None: not stated.
        recording: name of the file, unique in the corpus; empty: the utterance's id, or the file's name if the
            utterance is an interval of it.
        session: name of the chapter or conversation; empty: the recording's.
        channel: index of the channel; None: the only one.
        file: name and channel of the audio in STM and CTM files, as in Kaldi's reco2file_and_channel; None: the
            recording's name, and the channel's number. A file with a single channel is used for any channel name.
    """

    id: str
    audio: Path
    text: str
    speaker: str
    origin: str
    start: float = 0.0
    end: float | None = None
    seconds: float | None = None
    recording: str = ""
    session: str = ""
    channel: int | None = None
    file: tuple[str, str] | None = None

    @property
    def recording_id(self) -> str:
        """Name of the recording."""
        if self.recording:
            return self.recording
        return self.id if self.end is None and self.start == 0 else self.audio.stem


def write_part(
    name: str,
    utterances: Iterable[CorpusUtterance],
    output: Path,
    skipped: SkipLog,
    limits: Limits | None = None,
    rules: Normalisation = ENGLISH,
) -> None:
    """Write the manifests of a part: recordings, supervisions and skipped.tsv.

    Args:
        name: name of the part.
        utterances: all utterances of the part; unusable ones are skipped.
        output: folder to write to.
        skipped: receives the skipped utterances; `utterances` may add to it as well.
        limits: limits on duration and text; None: none.
        rules: normalisation of the transcripts.

    Raises:
        UserError: two utterances have the same id, or none is usable.
    """
    pairs = describe_part(name, utterances, skipped, limits or Limits(longest=None), rules)
    report_skipped(name, pairs, skipped)
    if limits:
        limits.warn_of_cost(name, (segment.duration for _, segment in pairs))
    write_described(name, pairs, output, skipped)


def report_skipped(name: str, pairs: Sequence[Described], skipped: SkipLog) -> None:
    """Log the skipped utterances of a part.

    Raises:
        UserError: no utterance is left.
    """
    skipped.log(f"part {name}", len(pairs), Path(SKIPPED_FILE) if pairs else None)
    if not pairs:
        example = f", e.g. {skipped.items[0].detail}" if skipped.items else ""
        raise UserError(f"part {name}: no usable utterance, {len(skipped)} skipped: {skipped.counts()}{example}")


def write_described(name: str, pairs: Sequence[Described], output: Path, skipped: SkipLog) -> None:
    """Write the manifests of a part and skipped.tsv; see `write_part`."""
    recordings = RecordingSet.from_recordings({pair[0].id: pair[0] for pair in pairs}.values())
    supervisions = SupervisionSet.from_segments(pair[1] for pair in pairs)
    validate_recordings_and_supervisions(recordings, supervisions)
    output.mkdir(parents=True, exist_ok=True)
    recordings.to_file(output / RECORDINGS)
    supervisions.to_file(output / SUPERVISIONS)
    skipped.write(output / SKIPPED_FILE)
    _log_sizes(name, supervisions)


def describe_part(
    name: str,
    utterances: Iterable[CorpusUtterance],
    skipped: SkipLog,
    limits: Limits,
    rules: Normalisation = ENGLISH,
) -> list[Described]:
    """Return recording and supervision of every usable utterance; add the others to `skipped`.

    Args:
        name: name of the part.
        utterances: utterances in the order of the corpus.
        skipped: receives the utterances left out.
        limits: limits of duration and speaking rate.
        rules: text normalisation.
    """
    described = list(_describe_all(name, _check_ids(utterances, skipped), limits, rules))
    skipped.extend([item for item in described if isinstance(item, SkippedUtterance)])
    return [item for item in described if not isinstance(item, SkippedUtterance)]


def read_cuts(part: Path) -> CutSet:
    """Return one cut per supervision, with the supervision's id.

    Args:
        part: folder written by `write_part`.

    Raises:
        FileNotFoundError: the part has not been prepared.
    """
    for file in (RECORDINGS, SUPERVISIONS):
        if not (part / file).is_file():
            raise FileNotFoundError(f"{part / file}: no such manifest; prepare part {part.name} first (stage corpus)")
    return make_cuts(load_manifest(RecordingSet, part / RECORDINGS), load_manifest(SupervisionSet, part / SUPERVISIONS))


def load_manifest(kind: type[Manifest], path: Path) -> Manifest:
    """Read a manifest that a stage has written.

    Raises:
        UserError: it is damaged or incomplete.
    """
    with explain_damaged_file(path, "run its stage again (corpus or features)"):
        return kind.from_file(path).to_eager()


def make_cuts(recordings: RecordingSet, supervisions: SupervisionSet) -> CutSet:
    """Return one cut per supervision, with the supervision's id."""
    whole = CutSet.from_manifests(recordings, supervisions)
    cuts = whole.trim_to_supervisions(keep_overlapping=False, keep_all_channels=False)
    return CutSet.from_cuts(cut.with_id(cut.supervisions[0].id) for cut in cuts)


def _check_ids(utterances: Iterable[CorpusUtterance], skipped: SkipLog) -> Iterator[CorpusUtterance]:
    """Yield the utterances; report those whose id occurred before."""
    origins: dict[str, str] = {}
    for utterance in utterances:
        if utterance.id in origins:
            skipped.error(
                f"{utterance.origin}: utterance {utterance.id} is already at {origins[utterance.id]}; "
                "ids must be unique, rename or remove one"
            )
            continue
        origins[utterance.id] = utterance.origin
        yield utterance


def _describe_all(
    name: str, utterances: Iterable[CorpusUtterance], limits: Limits, rules: Normalisation
) -> Iterator[Described | SkippedUtterance]:
    """Read the headers of all audio files, in threads, since most of the time is spent waiting for the disk."""
    utterances = list(utterances)
    _log_losses(name, utterances, rules)
    with ThreadPoolExecutor() as pool:
        described = pool.map(partial(_describe, limits=limits, rules=rules), utterances)
        yield from track(described, f"manifests of {name}", total=len(utterances), unit="utterances")


def _describe(utterance: CorpusUtterance, limits: Limits, rules: Normalisation) -> Described | SkippedUtterance:
    text = rules(utterance.text)
    if not text:
        detail = f"{utterance.origin}: no words in {utterance.text!r}; {_remedy(utterance.text, rules)}"
        return SkippedUtterance(utterance.id, "empty transcript", detail)
    if not is_file(utterance.audio):
        detail = f"{utterance.audio}: no such file, named by {utterance.origin}; supply it or remove the line"
        return SkippedUtterance(utterance.id, "missing audio", detail)
    try:
        recording = describe_audio(utterance.audio, utterance.recording_id)
    except AudioError as error:
        return SkippedUtterance(utterance.id, error.reason, str(error))
    if problem := _check_recording(utterance, recording) or _check_channel(utterance, recording):
        return problem
    supervision = _supervision(utterance, recording, text, rules.language or ("English" if rules == ENGLISH else None))
    return limits.check(supervision, utterance.origin) or (recording, supervision)


def _remedy(text: str, rules: Normalisation) -> str:
    """Return the remedy for a transcript without words."""
    if rules == ENGLISH and any(kind == LETTERS for kind, _ in rules.losses(text)):
        return "its letters are not English: --corpus.normalisation unicode keeps them"
    return "correct the transcript"


def _log_losses(name: str, utterances: Iterable[CorpusUtterance], rules: Normalisation) -> None:
    """Log what normalisation drops, changes or may misread; warn of anything but passages in brackets."""
    losses: Losses = Counter()
    for utterance in utterances:
        losses.update(rules.losses(utterance.text))
    if losses:
        level = logging.INFO if all(kind == BRACKETS for kind, _ in losses) else logging.WARNING
        text = "part %s: normalisation %r drops, changes or may misread %s; other choices: --corpus.normalisation"
        logger.log(level, text, name, rules.form, format_losses(losses))


def is_file(path: Path) -> bool:
    """Return whether a file exists; False for names that the system does not accept."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def _check_recording(utterance: CorpusUtterance, recording: Recording) -> SkippedUtterance | None:
    path, length = utterance.audio, recording.duration
    if recording.sampling_rate < MIN_RATE:
        detail = f"{path}: {recording.sampling_rate} Hz; at least {MIN_RATE} Hz are needed: record it again"
        return SkippedUtterance(utterance.id, "sampling rate too low", detail)
    if utterance.seconds is not None and abs(length - utterance.seconds) > _DURATION_TOLERANCE:
        detail = f"{path}: {length:.2f} s, but {utterance.origin} states {utterance.seconds:.2f} s: truncated? "
        return SkippedUtterance(utterance.id, "wrong duration", f"{detail}Fetch it again")
    end = length if utterance.end is None else utterance.end
    if not 0 <= utterance.start < min(end, length) or not end <= length + _DURATION_TOLERANCE:
        detail = f"{utterance.origin}: {utterance.start} s to {end} s is not inside {path} (0 to {length:.2f} s)"
        return SkippedUtterance(utterance.id, "segment outside its audio", detail)
    return None


def _check_channel(utterance: CorpusUtterance, recording: Recording) -> SkippedUtterance | None:
    """Return why the channel cannot be used: none is chosen of several, or there is no such channel."""
    path, number, chosen = utterance.audio, recording.num_channels, utterance.channel
    if number == 1 and (utterance.file or not chosen):
        return None
    if chosen is None:
        detail = (
            f"{path}: {number} channels, and {utterance.origin} chooses none; give one in the column `channel` of the "
            "table or in reco2file_and_channel, or write a file of one channel"
        )
        return SkippedUtterance(utterance.id, "several channels", detail)
    if chosen >= number:
        detail = f"{path}: {number} channels, but {utterance.origin} is of channel {chosen + 1}; correct it"
        return SkippedUtterance(utterance.id, "no such channel", detail)
    return None


def _supervision(
    utterance: CorpusUtterance, recording: Recording, text: str, language: str | None
) -> SupervisionSegment:
    end = recording.duration if utterance.end is None else min(utterance.end, recording.duration)
    return SupervisionSegment(
        id=utterance.id,
        recording_id=recording.id,
        start=utterance.start,
        duration=round(end - utterance.start, ndigits=8),
        channel=0 if recording.num_channels == 1 else utterance.channel,
        text=text,
        language=language,
        speaker=utterance.speaker,
        custom={"original_text": utterance.text, SESSION: utterance.session or recording.id, **_place(utterance)},
    )


def _place(utterance: CorpusUtterance) -> dict[str, str]:
    return dict(zip((FILE, CHANNEL), utterance.file, strict=True)) if utterance.file else {}


def recording_place(cut: Cut) -> tuple[str, str, float]:
    """Return recording and channel as named in STM and CTM files, and the start of a cut in it, in seconds."""
    custom = cut.supervisions[0].custom or {}
    return custom.get(FILE) or cut.recording_id, custom.get(CHANNEL) or str(cut.channel + 1), cut.start


def _log_sizes(name: str, supervisions: SupervisionSet) -> None:
    words = sum(len(supervision.text.split()) for supervision in supervisions)
    speakers = len({supervision.speaker for supervision in supervisions})
    minutes = sum(supervision.duration for supervision in supervisions) / 60
    logger.info(
        "part %s: %d utterances, %d speakers, %.1f min, %d words", name, len(supervisions), speakers, minutes, words
    )

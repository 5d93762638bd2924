"""From utterances, whatever their corpus, to validated Lhotse manifests."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import soundfile
from lhotse import (
    CutSet,
    Recording,
    RecordingSet,
    SupervisionSegment,
    SupervisionSet,
    validate_recordings_and_supervisions,
)
from lhotse.audio import AudioSource
from tqdm import tqdm

from augmem.corpus.limits import Limits
from augmem.corpus.sessions import SESSION
from augmem.corpus.skips import SKIPPED, Skip, SkipList
from augmem.lang import normalise_text

logger = logging.getLogger(__name__)

RECORDINGS = "recordings.jsonl.gz"
SUPERVISIONS = "supervisions.jsonl.gz"
LOWEST_RATE = 8000  # Hz: telephone speech; below it too little of the consonants is left
_DURATION_TOLERANCE = 0.1  # s; what a corpus says of a file against what the file has


@dataclass(frozen=True)
class Utterance:
    """One transcribed stretch of audio, as a corpus describes it.

    Args:
        id: unique in its part.
        audio: its file.
        text: its transcript, not normalised.
        speaker: who speaks; parts are kept apart by it.
        origin: where the transcript stands, `file:line`, for messages.
        start: seconds into the file.
        end: seconds into the file; None: to its end.
        seconds: duration that the corpus claims for the whole file, if it does.
        recording: what the corpus calls the file, unique in it; empty: the utterance's id, or for a file that is cut up
            its own name.
        session: name of the chapter or conversation that the utterance belongs to; empty: its recording's.
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


def write_part(
    name: str, utterances: Iterable[Utterance], output: Path, skips: SkipList, limits: Limits | None = None
) -> None:
    """Write the manifests of one part to `output`: recordings, supervisions and what was skipped.

    Args:
        name: of the part, for messages.
        utterances: all of the part; the faulty are skipped, counted and listed.
        output: folder to write to.
        skips: what has been skipped already while the utterances were collected.
        limits: what else is to be left out; None: nothing.

    Raises:
        ValueError: two utterances have one id, or none is usable.
    """
    pairs = describe_part(name, utterances, skips, limits or Limits())
    if not pairs:
        skips.report(name, 0, output / SKIPPED)
        raise ValueError(f"part {name}: no usable utterance, {len(skips)} skipped: {skips.counts()}")
    recordings = RecordingSet.from_recordings({pair[0].id: pair[0] for pair in pairs}.values())
    supervisions = SupervisionSet.from_segments(pair[1] for pair in pairs)
    validate_recordings_and_supervisions(recordings, supervisions)
    output.mkdir(parents=True, exist_ok=True)
    recordings.to_file(output / RECORDINGS)
    supervisions.to_file(output / SUPERVISIONS)
    skips.write(output / SKIPPED)
    _report(name, supervisions, skips, output)


def describe_part(
    name: str, utterances: Iterable[Utterance], skips: SkipList, limits: Limits
) -> list[tuple[Recording, SupervisionSegment]]:
    """Every usable utterance of a part; the others go to `skips`."""
    described = list(_describe_all(name, _unique(utterances, skips), limits))
    skips.extend([item for item in described if isinstance(item, Skip)])
    return [item for item in described if not isinstance(item, Skip)]


def read_cuts(part: Path) -> CutSet:
    """One cut per supervision, with the supervision's id.

    Args:
        part: a folder that `write_part` filled.

    Raises:
        FileNotFoundError: the part has not been prepared.
    """
    for file in (RECORDINGS, SUPERVISIONS):
        if not (part / file).is_file():
            raise FileNotFoundError(f"{part / file}: no such manifest; prepare part {part.name} first (stage corpus)")
    return cuts_of(RecordingSet.from_file(part / RECORDINGS), SupervisionSet.from_file(part / SUPERVISIONS))


def cuts_of(recordings: RecordingSet, supervisions: SupervisionSet) -> CutSet:
    """One cut per supervision, with the supervision's id."""
    whole = CutSet.from_manifests(recordings, supervisions)
    cuts = whole.trim_to_supervisions(keep_overlapping=False, keep_all_channels=False)
    return CutSet.from_cuts(cut.with_id(cut.supervisions[0].id) for cut in cuts)


def _unique(utterances: Iterable[Utterance], skips: SkipList) -> Iterator[Utterance]:
    origins: dict[str, str] = {}
    for utterance in utterances:
        if utterance.id in origins:
            skips.fault(
                f"{utterance.origin}: utterance {utterance.id} stands already at {origins[utterance.id]}; "
                "ids must be unique, rename or remove one"
            )
            continue
        origins[utterance.id] = utterance.origin
        yield utterance


def _describe_all(
    name: str, utterances: Iterable[Utterance], limits: Limits
) -> Iterator[tuple[Recording, SupervisionSegment] | Skip]:
    """Look at every file; in threads, because the time goes into waiting for the disk."""
    with ThreadPoolExecutor() as pool:
        yield from tqdm(
            pool.map(partial(_describe, limits=limits), utterances),
            desc=f"manifests of {name}",
            unit=" utt",
            leave=False,
        )


def _describe(utterance: Utterance, limits: Limits) -> tuple[Recording, SupervisionSegment] | Skip:
    text = normalise_text(utterance.text)
    if not text:
        return Skip(
            utterance.id, "empty transcript", f"{utterance.origin}: nothing is spoken in {utterance.text!r}; mend it"
        )
    if not is_file(utterance.audio):
        detail = f"{utterance.audio}: no such file, named by {utterance.origin}; supply it or remove the line"
        return Skip(utterance.id, "missing audio", detail)
    try:
        recording = describe_audio(utterance.audio, _recording_id(utterance))
    except ValueError as error:
        return Skip(utterance.id, "unreadable audio", str(error))
    if fault := _fault(utterance, recording):
        return fault
    supervision = _supervision(utterance, recording, text)
    return limits.fault(supervision, utterance.origin) or (recording, supervision)


def is_file(path: Path) -> bool:
    """Whether there is such a file; nonsense is none."""
    try:
        return path.is_file()
    except OSError:  # a name too long for the system
        return False


def describe_audio(path: Path, id: str) -> Recording:
    """A Lhotse recording of an audio file, from its header.

    Raises:
        ValueError: it is no audio file that libsndfile can read, or it is empty.
    """
    try:
        info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        reason = str(error).split(": ")[-1].strip()
        raise ValueError(f"{path}: {reason} Fetch it again, or convert it to FLAC or WAV") from error
    if info.frames <= 0:
        raise ValueError(f"{path}: no sound in it. Fetch it again")
    source = AudioSource(type="file", channels=list(range(info.channels)), source=str(path.absolute()))
    return Recording(id, [source], info.samplerate, info.frames, info.frames / info.samplerate)


def _recording_id(utterance: Utterance) -> str:
    if utterance.recording:
        return utterance.recording
    return utterance.id if utterance.end is None and utterance.start == 0 else utterance.audio.stem


def _fault(utterance: Utterance, recording: Recording) -> Skip | None:
    path, length = utterance.audio, recording.duration
    if recording.sampling_rate < LOWEST_RATE:
        detail = f"{path}: {recording.sampling_rate} Hz; at least {LOWEST_RATE} Hz are needed: record it again"
        return Skip(utterance.id, "sampling rate too low", detail)
    if utterance.seconds is not None and abs(length - utterance.seconds) > _DURATION_TOLERANCE:
        said = f"{utterance.origin} says {utterance.seconds:.2f} s"
        detail = f"{path}: {length:.2f} s, but {said}: truncated? Fetch it again"
        return Skip(utterance.id, "wrong duration", detail)
    end = length if utterance.end is None else utterance.end
    if not 0 <= utterance.start < min(end, length) or not end <= length + _DURATION_TOLERANCE:
        detail = f"{utterance.origin}: {utterance.start} s to {end} s is not inside {path} (0 to {length:.2f} s)"
        return Skip(utterance.id, "segment outside its audio", detail)
    return None


def _supervision(utterance: Utterance, recording: Recording, text: str) -> SupervisionSegment:
    end = recording.duration if utterance.end is None else min(utterance.end, recording.duration)
    return SupervisionSegment(
        id=utterance.id,
        recording_id=recording.id,
        start=utterance.start,
        duration=round(end - utterance.start, ndigits=8),
        channel=0,
        text=text,
        language="English",
        speaker=utterance.speaker,
        custom={"original_text": utterance.text, SESSION: utterance.session or recording.id},
    )


def _report(name: str, supervisions: SupervisionSet, skips: SkipList, output: Path) -> None:
    words = sum(len(supervision.text.split()) for supervision in supervisions)
    speakers = len({supervision.speaker for supervision in supervisions})
    minutes = sum(supervision.duration for supervision in supervisions) / 60
    kept = len(supervisions)
    logger.info("part %s: %d utterances, %d speakers, %.1f min, %d words", name, kept, speakers, minutes, words)
    skips.report(f"part {name}", kept, output / SKIPPED)

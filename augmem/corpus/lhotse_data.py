"""Lhotse manifests of the user: recordings and supervisions, or cuts; JSON lines, plain or gzip.

<root>/<part>/recordings.jsonl.gz, supervisions.jsonl.gz   or cuts.jsonl.gz; as written by stage corpus
<root>/<corpus>_recordings_<part>.jsonl.gz and so on       or <corpus>_cuts_<part>.jsonl.gz; by Lhotse's recipes
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lhotse import MonoCut, MultiCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from lhotse.cut import Cut
from lhotse.serialization import deserialize_item

from augmem.compressed import open_compressed
from augmem.corpus.manifests import CorpusUtterance, is_file
from augmem.corpus.reader import CorpusReader
from augmem.corpus.sessions import SESSION
from augmem.errors import UserError
from augmem.skipped import SkipLog

_SAVE = "save their audio and give the new cuts: cuts.trim_to_supervisions().save_audios(FOLDER)"
_KINDS = ("recordings", "supervisions", "cuts")


class LhotseData(CorpusReader):
    """Reads parts that are a pair of recordings and supervisions, or a file of cuts."""

    def __init__(self, root: Path) -> None:
        """List the manifests.

        Raises:
            FileNotFoundError: there are none.
            UserError: a part has two manifests of one kind.
        """
        self.root = root.absolute()
        self.parts: dict[str, dict[str, Path]] = {}
        for path in sorted(root.rglob("*.jsonl*")):
            if place := _kind_and_part(path):
                kind, part = place
                other = self.parts.setdefault(part, {}).setdefault(kind, path)
                if other != path:
                    raise UserError(f"{path}: part {part} already has {kind}: {other}; rename or remove one")
        self.parts = {part: files for part, files in self.parts.items() if "cuts" in files or len(files) == 2}
        if not self.parts:
            raise FileNotFoundError(
                f"{root}: no Lhotse manifests; there should be <part>/recordings.jsonl.gz and "
                "<part>/supervisions.jsonl.gz, or <part>/cuts.jsonl.gz"
            )

    def names(self) -> tuple[str, ...]:
        return tuple(self.parts)

    def utterances(self, part: str, skipped: SkipLog) -> Iterator[CorpusUtterance]:
        files = self.parts[part]
        if "supervisions" in files and "recordings" in files:
            recordings = {
                recording.id: recording for _, recording in read_manifest(files["recordings"], Recording, skipped)
            }
            for origin, supervision in read_manifest(files["supervisions"], SupervisionSegment, skipped):
                recording = recordings.get(supervision.recording_id)
                for found in make_utterance(supervision, recording, supervision.start, origin, skipped):
                    yield _resolve_path(found, self._folders(files["recordings"]))
        else:
            for origin, cut in read_manifest(files["cuts"], Cut, skipped):
                for found in cut_utterances(cut, getattr(cut, "recording", None), origin, skipped):
                    yield _resolve_path(found, self._folders(files["cuts"]))

    def _folders(self, manifest: Path) -> Sequence[Path]:
        """Return the folders that relative paths may start from: those of the manifest, to that beside the corpus."""
        folders = [manifest.absolute().parent, *manifest.absolute().parents]
        return folders[: folders.index(self.root) + 2]


def _kind_and_part(path: Path) -> tuple[str, str] | None:
    """Parse kind and part from the name of a manifest; None for an unknown kind."""
    words = path.name.split(".jsonl")[0].split("_")
    for position, word in enumerate(words):
        if word in _KINDS:
            return word, "_".join(words[position + 1 :]) or path.parent.resolve().name
    return None


def _resolve_path(utterance: CorpusUtterance, folders: Sequence[Path]) -> CorpusUtterance:
    """Complete a relative path: from the current folder, as Lhotse does, or from the first folder that has the file."""
    path = utterance.audio
    if path.is_absolute() or is_file(path):
        return utterance
    return replace(utterance, audio=next((folder / path for folder in folders if is_file(folder / path)), path))


def cut_utterances(cut: Cut, recording: Recording | None, origin: str, skipped: SkipLog) -> Iterator[CorpusUtterance]:
    """Yield the utterances of a cut; skip those that are not one channel of a file.

    Args:
        cut: any kind of cut.
        recording: its audio; None: none.
        origin: `file:line`, for messages.
        skipped: receives the utterances that cannot be used, or the cut if it has none.
    """
    ids = [supervision.id for supervision in cut.supervisions]
    if not ids:
        skipped.add(cut.id, "audio without transcript", f"{origin}: cut {cut.id} has no supervision; add one")
    elif not isinstance(cut, MonoCut | MultiCut):
        kind = type(cut).__name__
        detail = f"{origin}: {kind} {cut.id} mixes or pads audio; take the cuts it was made of, or {_SAVE}"
        for id in ids:
            skipped.add(id, "mixed audio", detail)
    elif recording is None:
        for id in ids:
            detail = f"{origin}: cut {cut.id} has no recording, only features; give the cuts with their recordings"
            skipped.add(id, "no recording", detail)
    else:
        for supervision in cut.supervisions:
            channel = cut.channel if isinstance(cut, MonoCut) else supervision.channel
            start = cut.start + supervision.start
            yield from make_utterance(supervision, recording, start, origin, skipped, channel)


def make_utterance(
    supervision: SupervisionSegment,
    recording: Recording | None,
    start: float,
    origin: str,
    skipped: SkipLog,
    channel: int | list[int] | None = None,
) -> Iterator[CorpusUtterance]:
    """Yield the utterance of a supervision; skip it unless its audio is one channel of a file.

    Args:
        supervision: its transcript and duration.
        recording: its recording; None: not found.
        start: begin in the recording, in seconds.
        origin: `file:line`, for messages.
        skipped: receives the utterance if it cannot be used.
        channel: its channel; None: that of the supervision.
    """
    if recording is None:
        detail = f"{origin}: {supervision.id} has no recording {supervision.recording_id}; add it to the recordings"
        skipped.add(supervision.id, "transcript without audio", detail)
        return
    found = _source(recording, supervision.channel if channel is None else channel)
    if isinstance(found, str):
        skipped.add(supervision.id, "audio not in a file", f"{origin}: recording {recording.id} {found}")
        return
    source, index = found
    yield CorpusUtterance(
        id=supervision.id,
        audio=Path(source.source),
        text=supervision.text or "",
        speaker=supervision.speaker or supervision.id,
        origin=origin,
        start=start,
        end=start + supervision.duration,
        seconds=recording.duration,
        recording=recording.id if len(recording.sources) == 1 else f"{recording.id}-{source.channels[index] + 1}",
        session=str((supervision.custom or {}).get(SESSION) or ""),
        channel=index,
    )


def _source(recording: Recording, channel: int | list[int]) -> tuple[AudioSource, int] | str:
    """Return the file of a channel and the index of the channel in it, or why there is none."""
    channels = [channel] if isinstance(channel, int) else channel
    if recording.transforms:
        names = ", ".join(str(getattr(item, "name", None) or _name(item)) for item in recording.transforms)
        return f"is changed when it is read ({names}); {_SAVE}"
    if len(channels) != 1:
        return f"has channels {channels} for one transcript; set the channel of the supervision to one of them"
    sources = [source for source in recording.sources if channels[0] in source.channels]
    if not sources:
        return f"has no channel {channels[0]}; correct the channel"
    if sources[0].type != "file":
        return f"is a {sources[0].type}, not a file; {_SAVE}"
    return sources[0], sources[0].channels.index(channels[0])


def _name(transform: Any) -> str:
    return str(transform["name"] if isinstance(transform, dict) else type(transform).__name__)


# Lhotse's exceptions for JSON that is not an item of its manifests.
MALFORMED = (ValueError, TypeError, KeyError, AttributeError, AssertionError, RecursionError)


def read_manifest(path: Path, kind: type[Any], skipped: SkipLog) -> Iterator[tuple[str, Any]]:
    """Yield (file:line, item) of every line of a manifest.

    Args:
        path: manifest: JSON lines, may be .gz.
        kind: class of the items: Recording, SupervisionSegment or a cut.
        skipped: receives the lines that are not used.

    Raises:
        UserError: a line is not an item of this kind, or the file cannot be read.
    """
    number = 0
    try:
        with open_compressed(path) as stream:
            for number, line in enumerate(io.TextIOWrapper(stream, "utf-8"), start=1):
                try:
                    item = _item(line, kind)
                except MALFORMED as error:
                    skipped.error(f"{path}:{number}: not a {kind.__name__} of Lhotse ({error!r}); write it again")
                    continue
                yield f"{path}:{number}", item
    except UserError as error:
        skipped.error(str(error))
    except (OSError, UnicodeDecodeError) as error:
        skipped.error(f"{path}:{number + 1}: cannot be read ({error}); fetch it again, or write it again")


def _item(line: str, kind: type[Any]) -> Any:
    """Parse a line of a manifest; check the types of its fields, which Lhotse does not."""
    item = deserialize_item(json.loads(line))
    if not isinstance(item, kind):
        raise TypeError(f"it is a {type(item).__name__}")
    for piece in (item, *getattr(item, "supervisions", ())):
        _check_types(piece, _OF_ALL)
        for name in ("start", "duration"):
            if not math.isfinite(getattr(piece, name, 0.0)):
                raise ValueError(f"its {name} is not finite")
    if recording := item if isinstance(item, Recording) else getattr(item, "recording", None):
        check_recording(recording)
    return item


_OF_ALL = {"id": str, "channel": (int, list), "text": (str, type(None))}
_OF_RECORDINGS = {"id": str, "sampling_rate": int, "duration": (int, float), "sources": list}
_OF_SOURCES = {"type": str, "channels": list, "source": (str, bytes)}


def check_recording(recording: Recording) -> None:
    """Raise TypeError if a field has a type that Lhotse does not write."""
    _check_types(recording, _OF_RECORDINGS)
    for source in recording.sources:
        _check_types(source, _OF_SOURCES)


def _check_types(piece: Any, types: Mapping[str, Any]) -> None:
    for name, kind in types.items():
        if hasattr(piece, name) and not isinstance(getattr(piece, name), kind):
            raise TypeError(f"its {name} is {getattr(piece, name)!r}")

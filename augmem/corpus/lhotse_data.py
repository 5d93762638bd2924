"""Lhotse manifests of the user: recordings and supervisions, or cuts; JSON lines, plain or gzip.

<root>/<part>/recordings.jsonl.gz, supervisions.jsonl.gz   or cuts.jsonl.gz; as written by stage corpus
<root>/<corpus>_recordings_<part>.jsonl.gz and so on       or <corpus>_cuts_<part>.jsonl.gz; by Lhotse's recipes
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.serialization import deserialize_item

from augmem.corpus.manifests import CorpusUtterance
from augmem.corpus.reader import CorpusReader
from augmem.corpus.sessions import SESSION
from augmem.errors import UserError
from augmem.skipped import SkipLog

_KINDS = ("recordings", "supervisions", "cuts")


class LhotseData(CorpusReader):
    """Reads parts that are a pair of recordings and supervisions, or a file of cuts."""

    def __init__(self, root: Path) -> None:
        """List the manifests.

        Raises:
            FileNotFoundError: there are none.
            UserError: a part has two manifests of one kind.
        """
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
                yield from make_utterance(supervision, recording, supervision.start, origin, skipped)
        else:
            for origin, cut in read_manifest(files["cuts"], MonoCut, skipped):
                for supervision in cut.supervisions:
                    start = cut.start + supervision.start
                    yield from make_utterance(supervision, cut.recording, start, origin, skipped)


def _kind_and_part(path: Path) -> tuple[str, str] | None:
    """Return kind and part that a manifest's name states; None if it states no known kind."""
    words = path.name.split(".jsonl")[0].split("_")
    for position, word in enumerate(words):
        if word in _KINDS:
            return word, "_".join(words[position + 1 :]) or path.parent.absolute().name
    return None


def make_utterance(
    supervision: SupervisionSegment, recording: Recording | None, start: float, origin: str, skipped: SkipLog
) -> Iterator[CorpusUtterance]:
    """Yield the utterance of a supervision; skip it unless its audio is the first channel of a file.

    Args:
        supervision: its transcript and duration.
        recording: its recording; None: not found.
        start: begin in the recording, in seconds.
        origin: `file:line`, for messages.
        skipped: receives the utterance if it cannot be used.
    """
    if recording is None:
        detail = f"{origin}: {supervision.id} has no recording {supervision.recording_id}; add it to the recordings"
        skipped.add(supervision.id, "transcript without audio", detail)
    elif len(recording.sources) != 1 or recording.sources[0].type != "file" or recording.transforms:
        detail = f"{origin}: recording {recording.id} is not a plain file; save its audio, and describe that file"
        skipped.add(supervision.id, "audio not in a file", detail)
    elif supervision.channel not in (0, [0]):
        detail = f"{origin}: channel {supervision.channel} of {recording.id}; only channel 0 is used: save it as a file"
        skipped.add(supervision.id, "not the first channel", detail)
    else:
        yield CorpusUtterance(
            id=supervision.id,
            audio=Path(recording.sources[0].source),
            text=supervision.text or "",
            speaker=supervision.speaker or supervision.id,
            origin=origin,
            start=start,
            end=start + supervision.duration,
            seconds=recording.duration,
            recording=recording.id,
            session=str((supervision.custom or {}).get(SESSION) or ""),
        )


def read_manifest(path: Path, kind: type, skipped: SkipLog) -> Iterator[tuple[str, Any]]:
    """Yield (file:line, item) of every line of a manifest.

    Raises:
        UserError: a line is not an item of this kind, or the file cannot be read.
    """
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    item = _item(line, kind)
                except (ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
                    skipped.error(f"{path}:{number}: not a {kind.__name__} of Lhotse ({error!r}); write it again")
                    continue
                yield f"{path}:{number}", item
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        skipped.error(f"{path}:{number + 1}: cannot be read ({error}); fetch it again, or write it again")


def _item(line: str, kind: type) -> Any:
    """Parse a line of a manifest; check the types of its fields, which Lhotse does not."""
    item = deserialize_item(json.loads(line))
    if not isinstance(item, kind):
        raise TypeError(f"it is a {type(item).__name__}")
    for piece in (item, *getattr(item, "supervisions", ())):
        if not isinstance(piece.id, str):
            raise TypeError(f"its id is {piece.id!r}")
        for name in ("start", "duration"):
            if not math.isfinite(getattr(piece, name, 0.0)):
                raise ValueError(f"its {name} is not finite")
        if not isinstance(getattr(piece, "text", None) or "", str):
            raise TypeError(f"its text is {piece.text!r}")
    return item

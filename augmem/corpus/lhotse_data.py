"""Lhotse manifests that a user brings: recordings and supervisions, or cuts; JSON lines, compressed or not.

<root>/<part>/recordings.jsonl.gz, supervisions.jsonl.gz   or cuts.jsonl.gz; as the stage corpus writes them
<root>/<corpus>_recordings_<part>.jsonl.gz and so on       or <corpus>_cuts_<part>.jsonl.gz; as Lhotse's recipes do
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

from augmem.corpus.manifests import Utterance
from augmem.corpus.skips import SkipList
from augmem.corpus.source import Parts, parts_by_name

_KINDS = ("recordings", "supervisions", "cuts")


class LhotseData:
    """Each part is a pair of recordings and supervisions, or a file of cuts."""

    def __init__(self, root: Path) -> None:
        """Look at the folder.

        Raises:
            FileNotFoundError: there is no such pair, and no cuts.
            ValueError: a part has two manifests of one kind.
        """
        self.parts: dict[str, dict[str, Path]] = {}
        for path in sorted(root.rglob("*.jsonl*")):
            if place := _kind_and_part(path):
                kind, part = place
                other = self.parts.setdefault(part, {}).setdefault(kind, path)
                if other != path:
                    raise ValueError(f"{path}: part {part} has {kind} already, {other}; rename or remove one")
        self.parts = {part: files for part, files in self.parts.items() if "cuts" in files or len(files) == 2}
        if not self.parts:
            raise FileNotFoundError(
                f"{root}: no Lhotse manifests; there should be <part>/recordings.jsonl.gz and "
                "<part>/supervisions.jsonl.gz, or <part>/cuts.jsonl.gz"
            )

    def names(self) -> tuple[str, ...]:
        return tuple(self.parts)

    def defaults(self) -> Parts:
        return parts_by_name(self.names())

    def utterances(self, part: str, skips: SkipList) -> Iterator[Utterance]:
        files = self.parts[part]
        if "supervisions" in files and "recordings" in files:
            recordings = {
                recording.id: recording for _, recording in manifest_items(files["recordings"], Recording, skips)
            }
            for origin, supervision in manifest_items(files["supervisions"], SupervisionSegment, skips):
                found = recordings.get(supervision.recording_id)
                yield from utterance_of(supervision, found, supervision.start, origin, skips)
        else:
            for origin, cut in manifest_items(files["cuts"], MonoCut, skips):
                for supervision in cut.supervisions:
                    yield from utterance_of(supervision, cut.recording, cut.start + supervision.start, origin, skips)


def _kind_and_part(path: Path) -> tuple[str, str] | None:
    """What a manifest is called; None: it is none of these kinds."""
    words = path.name.split(".jsonl")[0].split("_")
    for position, word in enumerate(words):
        if word in _KINDS:
            return word, "_".join(words[position + 1 :]) or path.parent.absolute().name
    return None


def utterance_of(
    supervision: SupervisionSegment, recording: Recording | None, start: float, origin: str, skips: SkipList
) -> Iterator[Utterance]:
    """The utterance, unless something about its audio is not as this project needs it."""
    if recording is None:
        detail = f"{origin}: {supervision.id} has no recording {supervision.recording_id}; add it to the recordings"
        skips.add(supervision.id, "transcript without audio", detail)
    elif len(recording.sources) != 1 or recording.sources[0].type != "file" or recording.transforms:
        detail = f"{origin}: recording {recording.id} is not one file as it stands; save its audio, and describe that"
        skips.add(supervision.id, "audio not in a file", detail)
    elif supervision.channel not in (0, [0]):
        detail = f"{origin}: channel {supervision.channel} of {recording.id}; make a file of it, channel 0 is heard"
        skips.add(supervision.id, "not the first channel", detail)
    else:
        yield Utterance(
            id=supervision.id,
            audio=Path(recording.sources[0].source),
            text=supervision.text or "",
            speaker=supervision.speaker or supervision.id,
            origin=origin,
            start=start,
            end=start + supervision.duration,
            seconds=recording.duration,
            recording=recording.id,
        )


def manifest_items(path: Path, kind: type, skips: SkipList) -> Iterator[tuple[str, Any]]:
    """(file:line, item) of every line."""
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    item = _item(line, kind)
                except (ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
                    skips.fault(f"{path}:{number}: not a {kind.__name__} of Lhotse ({error!r}); write it anew")
                    continue
                yield f"{path}:{number}", item
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        skips.fault(f"{path}:{number + 1}: it can't be read ({error}); fetch it again, or write it anew")


def _item(line: str, kind: type) -> Any:
    """One line of a manifest; Lhotse itself checks no types."""
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

"""Lhotse Shar that somebody brings, with audio in it: tar shards beside the manifests of their cuts.

<root>/<part>/cuts.000000.jsonl.gz, recording.000000.tar   and so on; whatever else lies beside them is not looked at
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from lhotse import MonoCut, Recording
from lhotse.audio import AudioSource
from lhotse.shar.readers import TarIterator
from lhotse.utils import fastcopy

from augmem.corpus.lhotse_data import manifest_items, utterance_of
from augmem.corpus.manifests import Utterance
from augmem.corpus.skips import SkipList
from augmem.corpus.source import Parts, parts_by_name


class SharData:
    """Every folder with cuts.*.jsonl.gz in it is a part; its audio is copied out, one file a cut."""

    def __init__(self, root: Path, audio: Path) -> None:
        """Look at the folder; what is copied out of shards goes to `audio`.

        Raises:
            FileNotFoundError: there are no shards.
            ValueError: two parts have one name.
        """
        self.audio = audio
        self.parts: dict[str, Path] = {}
        for folder in sorted({path.parent for path in root.rglob("cuts.*.jsonl*")}):
            other = self.parts.setdefault(folder.absolute().name, folder)
            if other != folder:
                raise ValueError(
                    f"{folder}: another part of this name is {other}; rename one, or name one's own folder"
                )
        if not self.parts:
            raise FileNotFoundError(
                f"{root}: no Lhotse Shar; there should be <part>/cuts.000000.jsonl.gz and <part>/recording.000000.tar"
            )

    def names(self) -> tuple[str, ...]:
        return tuple(self.parts)

    def defaults(self) -> Parts:
        return parts_by_name(self.names())

    def utterances(self, part: str, skips: SkipList) -> Iterator[Utterance]:
        for cuts in sorted(self.parts[part].glob("cuts.*.jsonl*")):
            number = cuts.name.split(".")[1]
            shard = cuts.with_name(f"recording.{number}.tar")
            if not shard.is_file():
                skips.fault(f"{shard}: no such file, but {cuts} is there; fetch it too, or remove the other")
                continue
            folder = self.audio / part / shard.stem  # named like the shard, since messages name the copies
            folder.mkdir(parents=True, exist_ok=True)
            for position, (origin, cut, recording) in enumerate(_pairs(cuts, shard, skips)):
                copied = recording and _copied(recording, cut.id, folder / f"{position:06d}")
                for supervision in cut.supervisions:
                    yield from utterance_of(supervision, copied, cut.start + supervision.start, origin, skips)


def _pairs(cuts: Path, shard: Path, skips: SkipList) -> Iterator[tuple[str, MonoCut, Recording | None]]:
    """Every cut of a manifest with its line and its audio, none if it has none."""
    for item, member in zip_longest(manifest_items(cuts, MonoCut, skips), _members(shard, skips)):
        if item is None or member is None or item[1].id != member[0]:
            skips.fault(
                f"{shard}: {member[0] if member else 'its end'} where {cuts} has {item[1].id if item else 'its end'}: "
                "cut short, or not of one writing; fetch both again"
            )
            return
        yield *item, member[1]


def _members(shard: Path, skips: SkipList) -> Iterator[tuple[str, Recording | None]]:
    """The name of every member of a shard, and what it holds."""
    try:
        for recording, name in TarIterator(shard):
            yield str(name.with_suffix("")), recording
    except (tarfile.TarError, RuntimeError, EOFError) as error:
        skips.fault(f"{shard}: it can't be read ({error}): cut short; fetch it again")


def _copied(recording: Recording, id: str, path: Path) -> Recording:
    """The recording, its audio in a file, by its cut's name: several cuts may be of one recording."""
    (source,) = recording.sources
    path.write_bytes(source.source)
    return fastcopy(recording, id=id, sources=[AudioSource("file", source.channels, str(path))])

"""Lhotse Shar of the user, with audio: tar shards and the manifests of their cuts.

<root>/<part>/cuts.000000.jsonl.gz, recording.000000.tar   and so on; other files are ignored
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from lhotse import Recording
from lhotse.audio import AudioSource
from lhotse.cut import Cut
from lhotse.shar.readers import TarIterator
from lhotse.utils import fastcopy

from augmem.corpus.lhotse_data import MALFORMED, check_recording, cut_utterances, read_manifest
from augmem.corpus.manifests import CorpusUtterance
from augmem.corpus.reader import CorpusReader
from augmem.errors import UserError
from augmem.skipped import SkipLog


class SharData(CorpusReader):
    """Reads folders with cuts.*.jsonl.gz; copies their audio to one file per cut."""

    def __init__(self, root: Path, audio: Path) -> None:
        """List the parts.

        Args:
            root: folder of the parts.
            audio: permanent folder for the audio files.

        Raises:
            FileNotFoundError: there are no shards.
            UserError: two parts have the same name.
        """
        self.audio = audio
        self.parts: dict[str, Path] = {}
        for folder in sorted({path.parent for path in root.rglob("cuts.*.jsonl*")}):
            other = self.parts.setdefault(folder.resolve().name, folder)
            if other != folder:
                raise UserError(
                    f"{folder}: another part of this name is {other}; rename one, or give the folder of one"
                )
        if not self.parts:
            raise FileNotFoundError(
                f"{root}: no Lhotse Shar; there should be <part>/cuts.000000.jsonl.gz and <part>/recording.000000.tar"
            )

    def names(self) -> tuple[str, ...]:
        return tuple(self.parts)

    def utterances(self, part: str, skipped: SkipLog) -> Iterator[CorpusUtterance]:
        for cuts in sorted(self.parts[part].glob("cuts.*.jsonl*")):
            number = cuts.name.split(".")[1]
            shard = cuts.with_name(f"recording.{number}.tar")
            if not shard.is_file():
                skipped.error(f"{shard}: no such file, but {cuts} is there; fetch it too, or remove the other")
                continue
            folder = self.audio / part / shard.stem  # named like the shard, because messages name the copies
            folder.mkdir(parents=True, exist_ok=True)
            for position, (origin, cut, recording) in enumerate(_pairs(cuts, shard, skipped)):
                copy = recording and _copy(recording, cut.id, folder / f"{position:06d}")
                yield from cut_utterances(cut, copy, origin, skipped)


def _pairs(cuts: Path, shard: Path, skipped: SkipLog) -> Iterator[tuple[str, Cut, Recording | None]]:
    """Yield `file:line`, cut and audio of every line of a manifest; None for a cut without audio."""
    for item, member in zip_longest(read_manifest(cuts, Cut, skipped), _members(shard, skipped)):
        if item is None or member is None or item[1].id != member[0]:
            found, expected = member[0] if member else "its end", item[1].id if item else "its end"
            skipped.error(
                f"{shard}: {found} where {cuts} has {expected}: truncated, or not written together; fetch both again"
            )
            return
        yield *item, member[1]


def _members(shard: Path, skipped: SkipLog) -> Iterator[tuple[str, Recording | None]]:
    """Yield name and content of every member of a shard."""
    try:
        _check_plain_tar(shard)
        for recording, name in TarIterator(shard):
            if recording:
                check_recording(recording)
            yield str(name.with_suffix("")), recording
    except (tarfile.TarError, RuntimeError, EOFError, *MALFORMED) as error:
        skipped.error(f"{shard}: cannot be read ({error}): truncated; fetch it again")


def _check_plain_tar(shard: Path) -> None:
    """Check that no entry of a shard is longer than its content, as a sparse one or in a compressed archive.

    Raises:
        tarfile.TarError: it is compressed or damaged, or has such an entry.
    """
    with tarfile.open(shard, "r:") as archive:
        if any(member.issparse() for member in archive):
            raise tarfile.TarError("it has sparse entries")


def _copy(recording: Recording, id: str, path: Path) -> Recording:
    """Write the audio to a file; name the recording after its cut, since several cuts may share a recording."""
    (source,) = recording.sources
    path.write_bytes(source.source)
    return fastcopy(recording, id=id, sources=[AudioSource("file", source.channels, str(path))])

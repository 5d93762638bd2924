"""Amazon Queen: 4.5 h of acted English from a game that Debian distributes.

The audio is in one archive, queen.1c, with big-endian numbers: the number of entries as u16 at byte 13; from byte 15
on, 21 bytes per entry: name (12 bytes, padded with NUL), one byte, u32 offset, u32 size. Entries *.SB are speech, MP3
of 11,025 Hz. Transcripts are in subtitles.tsv (see subtitles.NOTICE.txt).
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from augmem.corpus.debian import fetch_package, read_package
from augmem.corpus.manifests import CorpusUtterance
from augmem.corpus.reader import CorpusReader, Parts
from augmem.corpus.unpacking import unpack_once, unpacked_digest
from augmem.errors import UserError
from augmem.files import sha256_file
from augmem.progress import track
from augmem.skipped import SkipLog
from augmem.tables import read_table

logger = logging.getLogger(__name__)

PACKAGE = "flight-of-the-amazon-queen"
ARCHIVE = f"usr/share/scummvm/{PACKAGE}/queen.1c"
KNOWN_PACKAGES = {"40c08fd258d6fe95c46c1eaf5e9137f84ba330657995a281bd887c94a560a0f1": "1.0.0-9"}
_COUNT_AT, _ENTRIES_AT, _ENTRY = 13, 15, struct.Struct(">12sxII")

HELD_OUT = ("dev_joe", "dev_cast", "test_joe", "test_cast")
PARTS = ("digest", "full", *HELD_OUT)
_HERO = "JOE"


class AmazonQueen(CorpusReader):
    """Reads the corpus from extracted audio, one file per line of the script.

    Parts: `full`, all training lines (233 min); `digest`, those of the main character (88 min); dev_joe and test_joe,
    other lines of the main character; dev_cast and test_cast, other characters.
    """

    def __init__(self, audio: Path) -> None:
        """Read audio from a folder filled by `extract_audio`."""
        self.audio = audio

    @classmethod
    def from_package(cls, package: Path | None, download: Path) -> AmazonQueen:
        """Download the package if necessary, and extract its audio unless that has been done.

        Args:
            package: the .deb; None: download it by apt.
            download: folder for the package and the audio.

        Raises:
            FileNotFoundError: the package is missing and cannot be downloaded.
            UserError: the package is damaged.
        """
        audio = download / "audio"
        if not _is_extracted(audio, package):
            alternative = "or give the path of the file with --corpus-dir FILE."
            extract_audio(package or fetch_package(PACKAGE, download, alternative), audio)
        return cls(audio)

    def names(self) -> tuple[str, ...]:
        return PARTS

    def defaults(self, train: tuple[str, ...] = ()) -> Parts:
        return Parts(train=("full",), dev=("dev_joe", "dev_cast"), test=("test_joe", "test_cast"))

    def utterances(self, part: str, skipped: SkipLog) -> Iterator[CorpusUtterance]:
        table = Path(str(resources.files("augmem.corpus") / "subtitles.tsv"))
        columns = ("file", "speaker", "seconds", "split", "text")
        for number, row in read_table(table, columns):
            if _belongs(row, part):
                stem = Path(row["file"]).stem
                yield CorpusUtterance(
                    id=f"{row['speaker']}-{stem}",
                    audio=self.audio / f"{stem}.mp3",
                    text=row["text"],
                    speaker=row["speaker"],
                    origin=f"{table.name}:{number}",
                    seconds=float(row["seconds"]),
                )


def _belongs(row: dict[str, str], part: str) -> bool:
    if part in HELD_OUT:
        return row["split"] == part
    return row["split"] == "train" and (part == "full" or row["speaker"] == _HERO)


def _is_extracted(audio: Path, package: Path | None) -> bool:
    """Return whether `audio` was extracted from the package; from any package if it is None."""
    digest = unpacked_digest(audio)
    if package is None or not package.is_file():
        return package is None and digest is not None
    return digest == sha256_file(package)


def extract_audio(package: Path, folder: Path) -> None:
    """Write each speech entry of the game's archive to an MP3 file; `folder` appears when all are written.

    Raises:
        FileNotFoundError: there is no such package.
        UserError: the package or its archive is damaged.
    """
    if not package.is_file():
        raise FileNotFoundError(f"{package}: no such package; give the .deb of {PACKAGE}, or no --corpus-dir at all")
    digest = sha256_file(package)
    if digest not in KNOWN_PACKAGES:
        versions = ", ".join(KNOWN_PACKAGES.values())
        logger.warning("%s: unknown version of the package; the transcripts belong to %s", package, versions)
    archive = read_package(package, ARCHIVE)
    entries = [entry for entry in read_index(archive, f"{package}/{ARCHIVE}") if entry[0].endswith(".SB")]

    def unpack(target: Path) -> None:
        for name, offset, size in track(entries, f"extracting audio to {folder}", total=len(entries), unit="files"):
            (target / name).with_suffix(".mp3").write_bytes(archive[offset : offset + size])

    unpack_once(folder, digest, unpack)
    logger.info("extracted %d audio files from %s to %s", len(entries), package, folder)


def read_index(archive: bytes, name: str) -> list[tuple[str, int, int]]:
    """Return (name, offset, size) of the archive's entries.

    Args:
        archive: content of queen.1c.
        name: name of the archive, for messages.

    Raises:
        UserError: the archive is truncated, or the name or position of an entry is not valid.
    """
    if len(archive) < _ENTRIES_AT:
        raise UserError(f"{name}: {len(archive)} bytes, too short for its header; get the package again")
    (count,) = struct.unpack_from(">H", archive, _COUNT_AT)
    if len(archive) < _ENTRIES_AT + count * _ENTRY.size:
        raise UserError(f"{name}: its index of {count} entries is truncated; get the package again")
    entries = []
    for raw, offset, size in _ENTRY.iter_unpack(archive[_ENTRIES_AT : _ENTRIES_AT + count * _ENTRY.size]):
        entry = raw.rstrip(b"\0").decode("ascii", errors="replace")
        if set(entry) & set("/\\\0"):
            raise UserError(f"{name}: entry {entry!r} is not a file name; get the package again")
        if offset + size > len(archive):
            raise UserError(f"{name}: entry {entry} ends beyond the archive's end; get the package again")
        entries.append((entry, offset, size))
    return entries

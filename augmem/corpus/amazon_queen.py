"""Amazon Queen: 4.5 h of acted English, the voice-over of a game that Debian ships.

Its audio lies in one archive, queen.1c, all numbers big-endian: at byte 13 a u16 count of entries; from byte
15 on, 21 bytes per entry: name (12 bytes, padded with NUL), one byte, u32 offset, u32 size. Entries *.SB
are speech, each an MP3 stream of 11,025 Hz. What is said stands in subtitles.tsv (see subtitles.NOTICE.txt).
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from tqdm import tqdm

from augmem.corpus.debian import fetch_package, read_package
from augmem.corpus.manifests import Utterance
from augmem.corpus.skips import SkipList
from augmem.corpus.source import Parts
from augmem.corpus.tables import read_table
from augmem.files import atomic_path, remove, sha256_file

logger = logging.getLogger(__name__)

PACKAGE = "flight-of-the-amazon-queen"
ARCHIVE = f"usr/share/scummvm/{PACKAGE}/queen.1c"
KNOWN_PACKAGES = {"40c08fd258d6fe95c46c1eaf5e9137f84ba330657995a281bd887c94a560a0f1": "1.0.0-9"}
_COUNT_AT, _ENTRIES_AT, _ENTRY = 13, 15, struct.Struct(">12sxII")

HELD_OUT = ("dev_joe", "dev_cast", "test_joe", "test_cast")
PARTS = ("digest", "full", *HELD_OUT)
_HERO = "JOE"
_ORIGIN = "package.sha256"  # written last, beside the audio


class AmazonQueen:
    """The corpus, its audio extracted to one file per line.

    Parts: `full`, all training lines (233 min); `digest`, the hero's alone (88 min); dev_joe and
    test_joe, lines of his that are in neither; dev_cast and test_cast, characters that are in neither.
    """

    def __init__(self, audio: Path) -> None:
        """Take the audio from the folder `audio`, which `extract_audio` filled."""
        self.audio = audio

    @classmethod
    def from_package(cls, package: Path | None, download: Path) -> AmazonQueen:
        """Get the package if need be, and extract its audio unless that has been done.

        Args:
            package: the .deb; None: have apt fetch it.
            download: folder for the package and the audio.

        Raises:
            FileNotFoundError: the package can't be had; says how to get it.
            ValueError: the package is damaged.
        """
        audio = download / "audio"
        if not _extracted(audio, package):
            otherwise = "or name the file with --corpus-dir FILE."
            extract_audio(package or fetch_package(PACKAGE, download, otherwise), audio)
        return cls(audio)

    def names(self) -> tuple[str, ...]:
        return PARTS

    def defaults(self) -> Parts:
        return Parts(train=("full",), dev=("dev_joe", "dev_cast"), test=("test_joe", "test_cast"))

    def utterances(self, part: str, skips: SkipList) -> Iterator[Utterance]:
        table = Path(str(resources.files("augmem.corpus") / "subtitles.tsv"))
        columns = ("file", "speaker", "seconds", "split", "text")
        for number, row in read_table(table, columns):
            if _belongs(row, part):
                stem = Path(row["file"]).stem
                yield Utterance(
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


def _extracted(audio: Path, package: Path | None) -> bool:
    """Whether `audio` holds all of the package; of any package, if the user names none."""
    origin = audio / _ORIGIN
    if package is None or not package.is_file():
        return package is None and origin.is_file()
    return origin.is_file() and origin.read_text(encoding="utf-8") == sha256_file(package)


def extract_audio(package: Path, folder: Path) -> None:
    """Write each speech entry of the game's archive as one MP3 file; `folder` appears when all are written.

    Raises:
        FileNotFoundError: there is no such package.
        ValueError: the package or its archive is damaged.
    """
    if not package.is_file():
        raise FileNotFoundError(f"{package}: no such package; give the .deb of {PACKAGE}, or no --corpus-dir at all")
    digest = sha256_file(package)
    if digest not in KNOWN_PACKAGES:
        versions = ", ".join(KNOWN_PACKAGES.values())
        logger.warning("%s: not a version of the package that the subtitles were made for (%s)", package, versions)
    archive = read_package(package, ARCHIVE)
    entries = [entry for entry in read_index(archive, f"{package}/{ARCHIVE}") if entry[0].endswith(".SB")]
    for left_by_a_killed_run in folder.parent.glob(f".{folder.name}.partial-*"):
        remove(left_by_a_killed_run)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        for name, offset, size in tqdm(entries, desc=f"extracting audio to {folder}", unit=" files", leave=False):
            (temporary / name).with_suffix(".mp3").write_bytes(archive[offset : offset + size])
        (temporary / _ORIGIN).write_text(digest, encoding="utf-8")
    logger.info("extracted %d audio files from %s to %s", len(entries), package, folder)


def read_index(archive: bytes, name: str) -> list[tuple[str, int, int]]:
    """The archive's entries: (name, offset, size).

    Args:
        archive: the content of queen.1c.
        name: what to call it in messages.

    Raises:
        ValueError: it is cut short, or an entry points outside it.
    """
    if len(archive) < _ENTRIES_AT:
        raise ValueError(f"{name}: {len(archive)} bytes, too short for its header; get the package again")
    (count,) = struct.unpack_from(">H", archive, _COUNT_AT)
    if len(archive) < _ENTRIES_AT + count * _ENTRY.size:
        raise ValueError(f"{name}: its index of {count} entries is cut short; get the package again")
    entries = []
    for raw, offset, size in _ENTRY.iter_unpack(archive[_ENTRIES_AT : _ENTRIES_AT + count * _ENTRY.size]):
        entry = raw.rstrip(b"\0").decode("ascii")
        if offset + size > len(archive):
            raise ValueError(f"{name}: entry {entry} ends beyond the archive's end; get the package again")
        entries.append((entry, offset, size))
    return entries

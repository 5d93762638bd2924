"""Small corpora for the tests, some of them malformed."""

from __future__ import annotations

import gzip
import io
import shutil
import struct
import subprocess
import tarfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile

from augmem.corpus import CorpusConfig, compact_corpus, prepare_corpus
from augmem.tables import read_table

FIXTURE = Path(__file__).parents[1] / "fixtures" / "speech"
PART = "train-fixture"
MINI_SPEAKERS = {"train-clean-5": ("1", "2", "3", "4"), "dev-held": ("5", "6"), "test-held": ("7", "8")}
_CHAPTER = "1"


def build_librispeech_tree(fixture: Path, target: Path, part: str = PART) -> Path:
    """Lay the utterances out as `target`/`part`/<speaker>/1/<speaker>-1-<number>.flac; return `target`.

    Speakers are numbered in the order of their names, since LibriSpeech's are numbers.

    Args:
        fixture: folder with manifest.tsv (columns id, speaker, text) and flac/<id>.flac.
        target: root of the tree to make.
        part: name of its only part.
    """
    by_speaker = defaultdict(list)
    for _, row in read_table(fixture / "manifest.tsv", ("id", "speaker", "text")):
        by_speaker[row["speaker"]].append(row)
    for number, (_, rows) in enumerate(sorted(by_speaker.items()), start=1):
        folder = target / part / str(number) / _CHAPTER
        folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for index, row in enumerate(rows):
            id = f"{number}-{_CHAPTER}-{index:04d}"
            shutil.copyfile(fixture / "flac" / f"{row['id']}.flac", folder / f"{id}.flac")
            lines.append(f"{id} {row['text']}\n")
        (folder / f"{number}-{_CHAPTER}.trans.txt").write_text("".join(lines), encoding="utf-8")
    return target


def build_mini_librispeech(target: Path) -> Path:
    """Write the fixture as the three parts of the carried corpus, with its tables; return `target`."""
    build_librispeech_tree(FIXTURE, target)
    for part, speakers in MINI_SPEAKERS.items():
        (target / part).mkdir()
        for speaker in speakers:
            (target / PART / speaker).rename(target / part / speaker)
    (target / PART).rmdir()
    numbers = range(1, 12)
    (target / "SPEAKERS.TXT").write_text("; readers\n" + "".join(f"{n:<4} | F | x | 1.0 | A\n" for n in numbers))
    (target / "CHAPTERS.TXT").write_text("; chapters\n" + "".join(f"{n:<4} | {n} | 1.0 | x\n" for n in numbers))
    (target / "LICENSE.TXT").write_text("CC-BY-4.0\n")
    return target


def encode_with_libsndfile(samples: np.ndarray, rate: int) -> bytes:
    """Encode Opus where opusenc may not be installed."""
    content = io.BytesIO()
    soundfile.write(content, samples, rate, format="OGG", subtype="OPUS")
    return content.getvalue()


def build_carried_corpus(tree: Path, target: Path) -> Path:
    """Write the carried corpus of a tree that `build_mini_librispeech` made; return `target`."""
    compact_corpus(tree, target, 12, encode=encode_with_libsndfile)
    return target


def write_tone(path: Path, seconds: float = 1.0, rate: int = 16000, channels: int = 1) -> Path:
    """A quiet tone with a little noise, in the format of the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).normal(scale=0.01, size=len(time))
    wave = 0.1 * np.sin(2 * np.pi * 440 * time) + noise
    soundfile.write(path, np.stack([wave] * channels, axis=1), rate)
    return path


def write_chapter(root: Path, lines: dict[str, str], part: str = "train-tiny", speaker: str = "7") -> Path:
    """One LibriSpeech chapter with a second of sound per line; return the transcript file."""
    folder = root / part / speaker / "1"
    for id in lines:
        write_tone(folder / f"{id}.flac")
    transcript = folder / f"{speaker}-1.trans.txt"
    transcript.write_text("".join(f"{id} {text}\n" for id, text in lines.items()), encoding="utf-8")
    return transcript


def prepare_intervals(root: Path) -> Path:
    """Two intervals of one recording of real speech; return the manifests of their part."""
    rows = ["AND SO\ta\t0.5\t2.0", "ASK NOT\tb\t3.0\t5.5"]
    lines = ["audio\ttext\tid\tstart\tend", *(f"{FIXTURE}/flac/jfk.flac\t{row}" for row in rows)]
    (root / "train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    prepare_corpus(
        CorpusConfig("folder", str(root), dev=("train",), allow_overlap=True), root / "download", root / "manifests"
    )
    return root / "manifests" / "train"


def queen_archive(entries: dict[str, bytes]) -> bytes:
    """A queen.1c with these entries, written from the description of its format."""
    offset = 15 + 21 * len(entries)
    index, body = b"", b""
    for name, content in entries.items():
        index += name.encode().ljust(12, b"\0") + b"\x01" + struct.pack(">II", offset + len(body), len(content))
        body += content
    return b"QTBL" + b"\0" * 9 + struct.pack(">H", len(entries)) + index + body


def debian_package(path: Path, files: dict[str, bytes], compression: str = "xz") -> Path:
    """A .deb: an ar archive of debian-binary and data.tar."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=f"w:{compression.removesuffix('zst')}") as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    suffix, tar = f".{compression}" if compression else "", data.getvalue()
    if compression == "zst":
        tar = subprocess.run(["zstd", "-qc"], input=tar, check=True, stdout=subprocess.PIPE).stdout
    return debian_archive(path, f"data.tar{suffix}", tar)


def debian_archive(path: Path, name: str, data: bytes) -> Path:
    """A .deb with this content of data.tar."""
    members = {"debian-binary": b"2.0\n", "control.tar.gz": gzip.compress(b"odd"), name: data}
    content = b"!<arch>\n"
    for name, member in members.items():
        content += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(member):<10}`\n".encode()
        content += member + b"\n" * (len(member) % 2)
    path.write_bytes(content)
    return path

"""Small corpora for the tests, some of them broken on purpose."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import soundfile

from augmem.corpus import CorpusConfig, prepare_corpus

FIXTURE = Path(__file__).parents[1] / "fixtures" / "speech"


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


def prepare_stretches(root: Path) -> Path:
    """Two stretches of one recording of real speech; return the manifests of their part."""
    rows = ["AND SO\ta\t0.5\t2.0", "ASK NOT\tb\t3.0\t5.5"]
    lines = ["audio\ttext\tid\tstart\tend", *(f"{FIXTURE}/flac/jfk.flac\t{row}" for row in rows)]
    (root / "train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    prepare_corpus(CorpusConfig("folder", str(root), dev=("train",)), root / "download", root / "manifests")
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
    with tarfile.open(fileobj=data, mode=f"w:{compression}") as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    suffix = f".{compression}" if compression else ""
    members = {"debian-binary": b"2.0\n", "control.tar.gz": gzip.compress(b"odd"), f"data.tar{suffix}": data.getvalue()}
    content = b"!<arch>\n"
    for name, member in members.items():
        content += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(member):<10}`\n".encode()
        content += member + b"\n" * (len(member) % 2)
    path.write_bytes(content)
    return path

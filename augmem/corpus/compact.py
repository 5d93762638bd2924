"""Make the compact copy of mini LibriSpeech that this project carries from a LibriSpeech tree."""

from __future__ import annotations

import io
import logging
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from augmem.corpus.carried import CARRIED_PARTS, CHECKSUMS, HELD_OUT_SPEAKERS
from augmem.corpus.librispeech import LibriSpeech
from augmem.errors import UserError
from augmem.files import atomic_path, sha256_file
from augmem.programs import run_program
from augmem.progress import track
from augmem.skipped import SkipLog

logger = logging.getLogger(__name__)

AudioEncoder = Callable[[np.ndarray, int], bytes]
"""Samples (int16, mono) and their rate in Hz to the content of an Opus file."""

LICENSE_FILE = "LICENSE.TXT"
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)  # Hz; opusenc resamples others
_SHOWN = 3  # problems in a message


def encode_opus(samples: np.ndarray, rate: int, bitrate: float) -> bytes:
    """Encode speech by opusenc, with its longest frames (fewest headers) and a constant stream number.

    Args:
        samples: (samples,) int16.
        rate: Hz.
        bitrate: kbit/s on average.

    Returns:
        an Ogg Opus file; equal input gives equal bytes.

    Raises:
        UserError: opusenc is not installed, or failed.
    """
    wav = io.BytesIO()
    soundfile.write(wav, samples, rate, format="WAV", subtype="PCM_16")
    command = ["opusenc", "--quiet", "--discard-comments", "--padding", "0", "--serial", "1"]
    command += ["--bitrate", f"{bitrate:g}", "--framesize", "60", "--speech", "-", "-"]
    try:
        return run_program(command, wav.getvalue())
    except FileNotFoundError as error:
        raise UserError("no opusenc on this machine. On Debian or Ubuntu: apt-get install opus-tools") from error


@dataclass(frozen=True)
class CompactPart:
    """Content of a part of the copy.

    Args:
        name: name of the part.
        utterances: number of utterances.
        seconds: duration of the audio.
        speakers: their numbers.
        chapters: their numbers.
    """

    name: str
    utterances: int
    seconds: float
    speakers: frozenset[str]
    chapters: frozenset[str]


@dataclass(frozen=True)
class _Member:
    """A file of a part's archive."""

    name: str
    path: Path
    speaker: str
    chapter: str


def compact_corpus(
    tree: Path,
    output: Path,
    bitrate: float,
    parts: Sequence[str] = CARRIED_PARTS.all(),
    encode: AudioEncoder | None = None,
) -> list[CompactPart]:
    """Write a compact copy of parts of a LibriSpeech tree: tar files, tables, README, checksums.

    Equal trees give equal files. dev-held and test-held are taken from train-clean-100 if the tree has no such parts.

    Args:
        tree: folder of the parts, SPEAKERS.TXT, CHAPTERS.TXT and LICENSE.TXT.
        output: new folder to write.
        bitrate: kbit/s of the audio.
        parts: which parts.
        encode: audio encoder; None: opusenc.

    Raises:
        UserError: a file is missing, an audio file has no transcript or the reverse, or `output` exists.
    """
    if output.exists() and any(output.iterdir()):
        raise UserError(f"{output}: not empty; remove it, or give another folder with --output")
    encode = encode or partial(encode_opus, bitrate=bitrate)
    members = {part: _members(tree, part) for part in parts}
    with atomic_path(output) as folder:
        folder.mkdir()
        made = [_write_tar(part, members[part], folder / f"{part}.tar", encode) for part in parts]
        _write_tables(tree, folder, made)
        (folder / "README.md").write_text(_readme(made, bitrate), encoding="utf-8")
        sums = (f"{sha256_file(path)}  {path.name}\n" for path in sorted(folder.iterdir()))
        (folder / CHECKSUMS).write_text("".join(sums), encoding="utf-8")
    return made


def _members(tree: Path, part: str) -> list[_Member]:
    """List the files of a part, sorted by the names they get in the archive."""
    source = part if part not in HELD_OUT_SPEAKERS or (tree / part).is_dir() else "train-clean-100"
    speakers = HELD_OUT_SPEAKERS[part] if source != part else None
    corpus, skipped = LibriSpeech(tree, tree), SkipLog()
    if source not in corpus.names():
        raise UserError(f"{tree}: no part {source}; it has: {', '.join(corpus.names())}")
    utterances = [u for u in corpus.utterances(source, skipped) if speakers is None or u.speaker in speakers]
    problems = [item.detail for item in skipped]
    problems += [f"{u.audio}: no such file, but {u.origin} names it" for u in utterances if not u.audio.is_file()]
    if problems:
        raise UserError(f"{source}: {len(problems)} problems; fetch the part again: " + "; ".join(problems[:_SHOWN]))
    files = {u.audio for u in utterances} | {Path(u.origin.rpartition(":")[0]) for u in utterances}
    found = (_Member(str(part / _name(tree / source, path)), path, *path.parts[-3:-1]) for path in files)
    return sorted(found, key=lambda member: member.name)


def _name(folder: Path, path: Path) -> Path:
    name = path.relative_to(folder)
    return name if name.suffix == ".txt" else name.with_suffix(".opus")


def _write_tar(part: str, members: list[_Member], archive: Path, encode: AudioEncoder) -> CompactPart:
    utterances, seconds = 0, 0.0
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as tar:
        for member, content, duration in _encode_all(members, encode):
            entry = tarfile.TarInfo(member.name)  # time 0, owner 0
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
            utterances, seconds = utterances + bool(duration), seconds + duration
    return CompactPart(
        part, utterances, seconds, frozenset(m.speaker for m in members), frozenset(m.chapter for m in members)
    )


def _encode_all(members: list[_Member], encode: AudioEncoder) -> Iterator[tuple[_Member, bytes, float]]:
    """Yield every member with its content and the seconds of audio in it; encoders run in threads."""
    with ThreadPoolExecutor() as pool:
        contents = pool.map(partial(_content, encode=encode), members)
        contents = track(contents, f"encoding {members[0].name.split('/')[0]}", total=len(members), unit="files")
        for member, (content, seconds) in zip(members, contents, strict=True):
            yield member, content, seconds


def _content(member: _Member, encode: AudioEncoder) -> tuple[bytes, float]:
    if member.path.suffix == ".txt":
        return member.path.read_bytes(), 0.0
    samples, rate = soundfile.read(member.path, dtype="int16")
    if samples.ndim != 1 or rate not in _OPUS_RATES:
        raise UserError(f"{member.path}: {samples.ndim} channels, {rate} Hz; LibriSpeech is mono, 16000 Hz")
    return encode(samples, rate), len(samples) / rate


def _write_tables(tree: Path, folder: Path, made: list[CompactPart]) -> None:
    """Copy the licence, and the comments and the lines of the given speakers and chapters from the tables."""
    speakers = frozenset().union(*(part.speakers for part in made))
    chapters = frozenset().union(*(part.chapters for part in made))
    for name, wanted in (("SPEAKERS.TXT", speakers), ("CHAPTERS.TXT", chapters)):
        lines = _read(tree / name).splitlines()
        kept = [line for line in lines if line.startswith(";") or line.split("|")[0].strip() in wanted]
        (folder / name).write_text("\n".join(kept) + "\n", encoding="utf-8")
    (folder / LICENSE_FILE).write_text(_read(tree / LICENSE_FILE), encoding="utf-8")


def _read(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path}: no such file; copy it from the LibriSpeech archive")
    return path.read_text(encoding="utf-8")


_README = """# Mini LibriSpeech, compact

Speech and transcripts of LibriSpeech (Panayotov, Chen, Povey, Khudanpur, ICASSP 2015): the training set of mini
LibriSpeech (OpenSLR 31), and two held-out sets of other speakers from train-clean-100 (OpenSLR 12).

| part | origin | utterances | hours | speakers |
|---|---|---|---|---|
{rows}

dev-held and test-held are no official sets: a system trained on train-clean-100 has been trained on them. Quote results
on them by these names.

Each part is a tar file of `<part>/<speaker>/<chapter>/<utterance>.opus` and the official transcripts,
`<speaker>-<chapter>.trans.txt`. Utterances of a chapter are consecutive. SPEAKERS.TXT and CHAPTERS.TXT have the
lines of these speakers and chapters. A part's line of SHA256SUMS is checked whenever it is unpacked; all files are
checked by `sha256sum -c SHA256SUMS`.

Licence: LibriSpeech is CC-BY-4.0 (LICENSE.TXT). Changes: the audio was encoded again, as Opus of about
{bitrate:g} kbit/s (16 kHz, mono, 60 ms frames); transcripts are as published. Made by:

    augmem compact LibriSpeech --output corpora/mini_librispeech --bitrate {bitrate:g}
"""


def _readme(made: list[CompactPart], bitrate: float) -> str:
    rows = (
        f"| {part.name} | {_origin(part.name)} | {part.utterances:,} | {part.seconds / 3600:.2f} "
        f"| {len(part.speakers)} |"
        for part in made
    )
    return _README.format(rows="\n".join(rows), bitrate=bitrate)


def _origin(part: str) -> str:
    speakers = HELD_OUT_SPEAKERS.get(part)
    return f"speakers {', '.join(speakers)} of train-clean-100" if speakers else f"{part}, complete"

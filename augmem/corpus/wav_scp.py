"""wav.scp of Kaldi: audio files, positions in archives, and commands whose output is audio."""

from __future__ import annotations

import hashlib
import logging
import re
import subprocess
from pathlib import Path
from typing import BinaryIO

from augmem.corpus.manifests import is_file
from augmem.errors import UserError
from augmem.files import atomic_path
from augmem.tables import OnError

logger = logging.getLogger(__name__)

Entries = dict[str, tuple[int, str]]
"""Recording -> line number and rest of the line."""

_FLAC = re.compile(r"flac(?: -[cds]+)+ (\S+\.flac|'[^']+\.flac') \|")
_IN_ARCHIVE = re.compile(r"(.+):(\d+)")
_PIECE = 1 << 20  # bytes


class WavScp:
    """Finds the audio of the entries.

    Args:
        path: the wav.scp.
        copies: folder for the output of commands and the audio of archives.
        allow_pipes: run commands other than those that decode one FLAC file.
    """

    def __init__(self, path: Path, copies: Path, allow_pipes: bool = False) -> None:
        self.path, self.copies, self.allow_pipes = path, copies, allow_pipes

    def audio(self, entries: Entries, on_error: OnError) -> dict[str, Path]:
        """Return {recording: file}.

        Args:
            entries: lines of the file.
            on_error: called for every line whose audio is not available.
        """
        found = {}
        if commands := sum(_is_command(entry) for _, entry in entries.values()) * self.allow_pipes:
            logger.warning("%s: running the commands of %d lines (--allow-pipes)", self.path, commands)
        for id, (line, entry) in entries.items():
            try:
                found[id] = self._file(entry.strip())
            except UserError as error:
                on_error(f"{self.path}:{line}: {error}")
        return found

    def _file(self, entry: str) -> Path:
        if flac := _FLAC.fullmatch(entry):
            entry = flac[1].strip("'")
        if _is_command(entry):
            return self._run(entry)
        path = self._locate(entry)
        place = _IN_ARCHIVE.fullmatch(entry)
        return self._extract(self._locate(place[1]), int(place[2])) if place and not is_file(path) else path

    def _locate(self, name: str) -> Path:
        """Return a path relative to the current folder, as in Kaldi; if there is no such file, to the data folder."""
        path, relative = Path(name), self.path.parent / name
        return relative if not path.is_absolute() and not is_file(path) and is_file(relative) else path

    def _run(self, entry: str) -> Path:
        """Run a command as Kaldi does, by a shell in the current folder; return the file with its output."""
        if not self.allow_pipes:
            raise UserError(
                f"{entry!r} is a command; write its output to a WAV or FLAC file and give its path, or let it run: "
                "--corpus.allow_pipes true (augmem validate: --allow-pipes)"
            )
        command = f"set -o pipefail; {entry.removesuffix('|')}"
        with atomic_path(self._copy(entry)) as temporary, temporary.open("wb") as output:
            result = subprocess.run(
                ["bash", "-c", command], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE
            )
            if result.returncode:
                lines = result.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
                raise UserError(f"{entry!r} failed with status {result.returncode}: {lines[-1]}")
        return self._copy(entry)

    def _extract(self, archive: Path, offset: int) -> Path:
        """Copy one WAV file out of a Kaldi archive."""
        if not is_file(archive):
            raise UserError(f"{archive}: no such file; {archive.name}:{offset} is a position in a Kaldi archive")
        status = archive.stat()
        copy = self._copy(f"{archive.absolute()}:{offset}:{status.st_mtime_ns}:{status.st_size}")
        with archive.open("rb") as stream:
            stream.seek(offset)
            header = stream.read(12)
            if header[:4] != b"RIFF" or header[8:] != b"WAVE":
                raise UserError(
                    f"{archive}:{offset}: no WAV file at this position of the archive; convert it with Kaldi: "
                    "wav-copy scp:wav.scp scp,t:files.scp"
                )
            if not copy.is_file():
                stream.seek(offset)
                _copy_bytes(stream, int.from_bytes(header[4:8], "little") + 8, copy)
        return copy

    def _copy(self, key: str) -> Path:
        return self.copies / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.wav"


def _is_command(entry: str) -> bool:
    entry = entry.strip()
    return entry.endswith("|") and not _FLAC.fullmatch(entry)


def _copy_bytes(stream: BinaryIO, size: int, target: Path) -> None:
    with atomic_path(target) as temporary, temporary.open("wb") as output:
        while size > 0 and (piece := stream.read(min(size, _PIECE))):
            output.write(piece)
            size -= len(piece)

"""Kaldi data directories: wav.scp, text, utt2spk and, if recordings are cut up, segments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from augmem.corpus.manifests import Utterance
from augmem.corpus.skips import SkipList
from augmem.corpus.source import Parts, parts_by_name
from augmem.corpus.tables import read_lines


class KaldiData:
    """One data directory, or a folder of several; each is a part, called like its folder."""

    def __init__(self, root: Path) -> None:
        """Look at the folder.

        Raises:
            FileNotFoundError: there is no data directory.
        """
        folders = [root, *sorted(path for path in root.glob("*") if path.is_dir())]
        self.folders = {folder.absolute().name: folder for folder in folders if (folder / "wav.scp").is_file()}
        if not self.folders:
            raise FileNotFoundError(f"{root}: no Kaldi data directory: neither it nor a folder in it has a wav.scp")

    def names(self) -> tuple[str, ...]:
        return tuple(self.folders)

    def defaults(self) -> Parts:
        return parts_by_name(self.names())

    def utterances(self, part: str, skips: SkipList) -> Iterator[Utterance]:
        folder = self.folders[part]
        audio = {id: _audio_path(folder, line, rest) for id, (line, rest) in _read(folder / "wav.scp").items()}
        segments = _segments(folder / "segments") if (folder / "segments").is_file() else None
        speakers = _read(folder / "utt2spk") if (folder / "utt2spk").is_file() else {}
        texts = _read(folder / "text")
        for id, (line, text) in texts.items():
            recording, start, end = (segments or {}).get(id, (id, 0.0, None))
            if (segments is not None and id not in segments) or recording not in audio:
                place = "wav.scp" if segments is None else "segments, or its recording none in wav.scp"
                skips.add(id, "transcript without audio", f"{folder}/text:{line}: {id} has no line in {place}; add it")
                continue
            speaker = speakers[id][1].strip() if id in speakers else id
            yield Utterance(id, audio[recording], text, speaker, f"{folder}/text:{line}", start, end)
        for id in sorted((audio if segments is None else segments).keys() - texts.keys()):
            skips.add(id, "audio without transcript", f"{folder}/text: no line for {id}; add one")


def _read(path: Path) -> dict[str, tuple[int, str]]:
    """Lines of `<id> <rest>`: {id: (line number, rest)}.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an id stands in it twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; a Kaldi data directory needs wav.scp and text")
    found: dict[str, tuple[int, str]] = {}
    for number, line in read_lines(path):
        id, *rest = line.split(maxsplit=1)
        if id in found:
            raise ValueError(f"{path}:{number}: {id} stands already in line {found[id][0]}; remove one")
        found[id] = (number, rest[0] if rest else "")
    return found


def _audio_path(folder: Path, line: int, entry: str) -> Path:
    """A path relative to where Kaldi would be run; commands are not carried out."""
    entry = entry.strip()
    if entry.endswith("|"):
        raise ValueError(
            f"{folder}/wav.scp:{line}: {entry!r} is a command; run it into a WAV or FLAC file and name that file"
        )
    path = Path(entry)
    beside = folder / path
    return beside if not path.is_absolute() and not path.is_file() and beside.is_file() else path


def _segments(path: Path) -> dict[str, tuple[str, float, float | None]]:
    """{utterance: (recording, start, end)}, in seconds.

    Raises:
        ValueError: a line is not `<utterance> <recording> <start> <end>`.
    """
    found: dict[str, tuple[str, float, float | None]] = {}
    for id, (number, rest) in _read(path).items():
        try:
            recording, start, end = rest.split()
            found[id] = (recording, float(start), None if float(end) < 0 else float(end))
        except ValueError as error:
            raise ValueError(
                f"{path}:{number}: {rest.strip()!r} after {id}; it should be <recording> <start s> <end s>"
            ) from error
    return found

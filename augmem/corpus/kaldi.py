"""Kaldi data directories: wav.scp, text, utt2spk and, if utterances are intervals of recordings, segments."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from lhotse import Recording
from lhotse.cut import Cut
from lhotse.kaldi import make_wavscp_channel_string_map

from augmem.corpus.manifests import SUPERVISIONS, CorpusUtterance, is_file, read_cuts
from augmem.corpus.reader import CorpusReader
from augmem.errors import UserError
from augmem.files import write_text
from augmem.skipped import SkipLog
from augmem.tables import OnError, read_lines

_FLAC = re.compile(r"flac(?: -[cds]+)+ (\S+\.flac|'[^']+\.flac') \|")


class KaldiData(CorpusReader):
    """Reads one data directory, or a folder of several; each is a part, named like its folder."""

    def __init__(self, root: Path) -> None:
        """List the data directories.

        Raises:
            FileNotFoundError: there is none.
        """
        folders = [root, *sorted(path for path in root.glob("*") if path.is_dir())]
        self.folders = {folder.absolute().name: folder for folder in folders if (folder / "wav.scp").is_file()}
        if not self.folders:
            raise FileNotFoundError(f"{root}: no Kaldi data directory: neither it nor a folder in it has a wav.scp")

    def names(self) -> tuple[str, ...]:
        return tuple(self.folders)

    def utterances(self, part: str, skipped: SkipLog) -> Iterator[CorpusUtterance]:
        folder = self.folders[part]
        read = partial(_read, on_error=skipped.error)
        audio = _audio(folder, read(folder / "wav.scp"), skipped.error)
        segmented = (folder / "segments").is_file()
        segments = _segments(folder, read(folder / "segments"), skipped.error) if segmented else {}
        speakers = read(folder / "utt2spk") if (folder / "utt2spk").is_file() else {}
        texts = read(folder / "text")
        for id, (line, text) in texts.items():
            recording, start, end = segments.get(id, (id, 0.0, None))
            if (segmented and id not in segments) or recording not in audio:
                place = "segments, or its recording none in wav.scp" if segmented else "wav.scp"
                skipped.add(
                    id, "transcript without audio", f"{folder}/text:{line}: {id} has no line in {place}; add it"
                )
                continue
            speaker = speakers[id][1].strip() if id in speakers else id
            yield CorpusUtterance(
                id, audio[recording], text, speaker, f"{folder}/text:{line}", start, end, recording=recording
            )
        for id in sorted((segments if segmented else audio).keys() - texts.keys()):
            skipped.add(id, "audio without transcript", f"{folder}/text: no line for {id}; add one")


def _read(path: Path, on_error: OnError) -> dict[str, tuple[int, str]]:
    """Read lines of `<id> <rest>`; return {id: (line number, rest)}.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: an id occurs twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; a Kaldi data directory needs wav.scp and text")
    found: dict[str, tuple[int, str]] = {}
    for number, line in read_lines(path, on_error):
        id, *rest = line.split(maxsplit=1)
        if id in found:
            on_error(f"{path}:{number}: {id} is already in line {found[id][0]}; remove one")
        else:
            found[id] = (number, rest[0] if rest else "")
    return found


def _audio(folder: Path, entries: dict[str, tuple[int, str]], on_error: OnError) -> dict[str, Path]:
    """Return {recording: file} of wav.scp; the only commands accepted are those that decode one FLAC file."""
    found = {}
    for id, (line, entry) in entries.items():
        entry = entry.strip()
        if flac := _FLAC.fullmatch(entry):
            entry = flac[1].strip("'")
        if entry.endswith("|"):
            place = f"{folder}/wav.scp:{line}"
            on_error(f"{place}: {entry!r} is a command; write its output to a WAV or FLAC file and name that file")
        else:
            found[id] = _audio_path(folder, entry)
    return found


def _audio_path(folder: Path, entry: str) -> Path:
    """Return a path relative to the current folder, as in Kaldi; if there is no such file, to the data directory."""
    path = Path(entry)
    relative = folder / path
    return relative if not path.is_absolute() and not is_file(path) and is_file(relative) else path


def _segments(
    folder: Path, entries: dict[str, tuple[int, str]], on_error: OnError
) -> dict[str, tuple[str, float, float | None]]:
    """Return {utterance: (recording, start, end)}, in seconds."""
    found: dict[str, tuple[str, float, float | None]] = {}
    for id, (number, rest) in entries.items():
        try:
            recording, start, end = rest.split()
            found[id] = (recording, float(start), None if float(end) < 0 else float(end))
        except ValueError:
            place = f"{folder}/segments:{number}"
            on_error(f"{place}: {rest.strip()!r} after {id}; it should be <recording> <start s> <end s>")
    return found


def write_kaldi(manifests: Path, output: Path) -> int:
    """Write a part as a Kaldi data directory: wav.scp, text, utt2spk, spk2utt, segments.

    Lhotse's export neither sorts the files as Kaldi requires nor writes spk2utt. Since Kaldi reads WAV only, other
    formats are piped through flac or ffmpeg.

    Args:
        manifests: folder written by `write_part`.
        output: folder to write to.

    Returns:
        the number of utterances.

    Raises:
        FileNotFoundError: the part has not been prepared.
        UserError: utterances and speakers sort differently, or a name contains white space.
    """
    cuts = sorted(read_cuts(manifests), key=lambda cut: cut.id)
    speakers: dict[str, list[str]] = defaultdict(list)
    for cut in cuts:
        speakers[cut.supervisions[0].speaker].append(cut.id)
    _check_names(manifests / SUPERVISIONS, cuts, list(speakers))
    sources = {cut.recording_id: _wav_scp_entry(cut.recording) for cut in cuts}
    files = {
        "wav.scp": sorted(sources.items()),
        "text": [(cut.id, cut.supervisions[0].text) for cut in cuts],
        "utt2spk": [(cut.id, cut.supervisions[0].speaker) for cut in cuts],
        "spk2utt": [(speaker, " ".join(ids)) for speaker, ids in speakers.items()],
        "segments": [(cut.id, f"{cut.recording_id} {cut.start:.5f} {cut.end:.5f}") for cut in cuts],
    }
    for name, rows in files.items():
        write_text(output / name, "".join(f"{id} {rest}\n" for id, rest in rows))
    return len(cuts)


def _check_names(manifest: Path, cuts: list[Cut], speakers: list[str]) -> None:
    for name in (name for cut in cuts for name in (cut.id, cut.recording_id, cut.supervisions[0].speaker)):
        if len(name.split()) != 1:
            raise UserError(f"{manifest}: {name!r} is not a name in Kaldi; replace white space by _")
    if speakers != sorted(speakers):
        raise UserError(
            f"{manifest}: utterances and speakers sort differently, which Kaldi does not allow; begin the id of every "
            "utterance with its speaker's"
        )


def _wav_scp_entry(recording: Recording) -> str:
    source = recording.sources[0]
    quoted = shlex.quote(source.source)
    if Path(source.source).suffix == ".flac" and recording.num_channels == 1:
        return f"flac -c -d -s {quoted} |"
    entry = str(make_wavscp_channel_string_map(source, recording.sampling_rate)[0])
    return entry.replace(source.source, quoted) if entry.endswith("|") else entry

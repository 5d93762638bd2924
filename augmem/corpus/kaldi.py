"""Kaldi data directories: wav.scp, text, utt2spk and, if recordings are cut up, segments."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from lhotse import Recording
from lhotse.kaldi import make_wavscp_channel_string_map

from augmem.corpus.manifests import SUPERVISIONS, Utterance, is_file, read_cuts
from augmem.corpus.skips import SkipList
from augmem.corpus.source import Parts, parts_by_name
from augmem.corpus.tables import Fault, read_lines
from augmem.files import write_text

_FLAC = re.compile(r"flac(?: -[cds]+)+ (\S+\.flac|'[^']+\.flac') \|")


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
        read = partial(_read, fault=skips.fault)
        audio = _audio(folder, read(folder / "wav.scp"), skips.fault)
        cut_up = (folder / "segments").is_file()
        segments = _segments(folder, read(folder / "segments"), skips.fault) if cut_up else {}
        speakers = read(folder / "utt2spk") if (folder / "utt2spk").is_file() else {}
        texts = read(folder / "text")
        for id, (line, text) in texts.items():
            recording, start, end = segments.get(id, (id, 0.0, None))
            if (cut_up and id not in segments) or recording not in audio:
                place = "segments, or its recording none in wav.scp" if cut_up else "wav.scp"
                skips.add(id, "transcript without audio", f"{folder}/text:{line}: {id} has no line in {place}; add it")
                continue
            speaker = speakers[id][1].strip() if id in speakers else id
            yield Utterance(
                id, audio[recording], text, speaker, f"{folder}/text:{line}", start, end, recording=recording
            )
        for id in sorted((segments if cut_up else audio).keys() - texts.keys()):
            skips.add(id, "audio without transcript", f"{folder}/text: no line for {id}; add one")


def _read(path: Path, fault: Fault) -> dict[str, tuple[int, str]]:
    """Lines of `<id> <rest>`: {id: (line number, rest)}.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an id stands in it twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; a Kaldi data directory needs wav.scp and text")
    found: dict[str, tuple[int, str]] = {}
    for number, line in read_lines(path, fault):
        id, *rest = line.split(maxsplit=1)
        if id in found:
            fault(f"{path}:{number}: {id} stands already in line {found[id][0]}; remove one")
        else:
            found[id] = (number, rest[0] if rest else "")
    return found


def _audio(folder: Path, entries: dict[str, tuple[int, str]], fault: Fault) -> dict[str, Path]:
    """{recording: file}, from wav.scp; of commands only those that do nothing but read one FLAC file can be used."""
    found = {}
    for id, (line, entry) in entries.items():
        entry = entry.strip()
        if flac := _FLAC.fullmatch(entry):
            entry = flac[1].strip("'")
        if entry.endswith("|"):
            fault(f"{folder}/wav.scp:{line}: {entry!r} is a command; run it into a WAV or FLAC file and name that file")
        else:
            found[id] = _audio_path(folder, entry)
    return found


def _audio_path(folder: Path, entry: str) -> Path:
    """A path relative to where Kaldi would be run, or else to the data directory."""
    path = Path(entry)
    beside = folder / path
    return beside if not path.is_absolute() and not is_file(path) and is_file(beside) else path


def _segments(
    folder: Path, entries: dict[str, tuple[int, str]], fault: Fault
) -> dict[str, tuple[str, float, float | None]]:
    """{utterance: (recording, start, end)}, in seconds."""
    found: dict[str, tuple[str, float, float | None]] = {}
    for id, (number, rest) in entries.items():
        try:
            recording, start, end = rest.split()
            found[id] = (recording, float(start), None if float(end) < 0 else float(end))
        except ValueError:
            place = f"{folder}/segments:{number}"
            fault(f"{place}: {rest.strip()!r} after {id}; it should be <recording> <start s> <end s>")
    return found


def write_kaldi(manifests: Path, output: Path) -> int:
    """Write a part as a Kaldi data directory: wav.scp, text, utt2spk, spk2utt, segments; return its utterances.

    Lhotse's own export neither sorts as Kaldi wants it nor writes spk2utt. Whatever is not WAV is piped through flac
    or ffmpeg, since Kaldi reads WAV alone.

    Args:
        manifests: a folder that `write_part` filled.
        output: folder to write to.

    Raises:
        FileNotFoundError: the part has not been prepared.
        ValueError: sorted by utterance the speakers are not in order, which Kaldi's programs rely on; or a name has
            white space in it.
    """
    cuts = sorted(read_cuts(manifests), key=lambda cut: cut.id)
    speakers: dict[str, list[str]] = defaultdict(list)
    for cut in cuts:
        speakers[cut.supervisions[0].speaker].append(cut.id)
    for name in (name for cut in cuts for name in (cut.id, cut.recording_id, cut.supervisions[0].speaker)):
        if len(name.split()) != 1:
            raise ValueError(
                f"{manifests / SUPERVISIONS}: {name!r} is no name for Kaldi; write _ in the place of blanks"
            )
    if list(speakers) != sorted(speakers):
        raise ValueError(
            f"{manifests / SUPERVISIONS}: utterances and their speakers sort differently, which Kaldi does not allow; "
            "begin every utterance's id with its speaker's"
        )
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


def _wav_scp_entry(recording: Recording) -> str:
    source = recording.sources[0]
    quoted = shlex.quote(source.source)
    if Path(source.source).suffix == ".flac" and recording.num_channels == 1:
        return f"flac -c -d -s {quoted} |"
    entry = str(make_wavscp_channel_string_map(source, recording.sampling_rate)[0])
    return entry.replace(source.source, quoted) if entry.endswith("|") else entry

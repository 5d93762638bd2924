"""Kaldi data directories: wav.scp, text and utt2spk; segments, reco2file_and_channel.

segments                   if utterances are intervals of recordings
reco2file_and_channel      if recordings have several channels: <recording> <name of the file> <A, B or a number from 1>
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from lhotse import Recording
from lhotse.cut import Cut
from lhotse.kaldi import make_wavscp_channel_string_map

from augmem.audio import channel_index
from augmem.corpus.manifests import SUPERVISIONS, CorpusUtterance, read_cuts, recording_place
from augmem.corpus.reader import CorpusReader
from augmem.corpus.wav_scp import Entries, WavScp
from augmem.errors import UserError
from augmem.files import write_text
from augmem.skipped import SkipLog
from augmem.tables import OnError, read_lines

_SPEAKERS, _CHANNELS = "utt2spk", "reco2file_and_channel"


class KaldiData(CorpusReader):
    """Reads one data directory, or a folder of several; each is a part, named like its folder."""

    def __init__(self, root: Path, copies: Path, allow_pipes: bool = False) -> None:
        """List the data directories.

        Args:
            root: a data directory, or a folder of several.
            copies: permanent folder for the output of commands and the audio of archives.
            allow_pipes: run the commands of wav.scp.

        Raises:
            FileNotFoundError: there is none.
        """
        self.copies, self.allow_pipes = copies, allow_pipes
        folders = [root, *sorted(path for path in root.glob("*") if path.is_dir())]
        self.folders = {folder.resolve().name: folder for folder in folders if (folder / "wav.scp").is_file()}
        if not self.folders:
            raise FileNotFoundError(f"{root}: no Kaldi data directory: neither it nor a folder in it has a wav.scp")

    def names(self) -> tuple[str, ...]:
        return tuple(self.folders)

    def utterances(self, part: str, skipped: SkipLog) -> Iterator[CorpusUtterance]:
        folder = self.folders[part]
        read = partial(_read, on_error=skipped.error)
        wav_scp = WavScp(folder / "wav.scp", self.copies, self.allow_pipes)
        audio = wav_scp.audio(read(folder / "wav.scp"), skipped.error)
        channels = _channels(folder, skipped.error)
        segmented = (folder / "segments").is_file()
        segments = _segments(folder, read(folder / "segments"), skipped.error) if segmented else {}
        texts = read(folder / "text")
        speakers = _speakers(folder / _SPEAKERS, texts, segments if segmented else audio, skipped.error)
        for id, (line, text) in texts.items():
            recording, start, end = segments.get(id, (id, 0.0, None))
            if (segmented and id not in segments) or recording not in audio:
                place = "segments, or its recording has none in wav.scp" if segmented else "wav.scp"
                skipped.add(
                    id, "transcript without audio", f"{folder}/text:{line}: {id} has no line in {place}; add it"
                )
                continue
            channel, file = channels.get(recording, (None, None))
            yield CorpusUtterance(
                id,
                audio[recording],
                text,
                speaker=speakers.get(id, id),
                origin=f"{folder}/text:{line}",
                start=start,
                end=end,
                recording=recording,
                channel=channel,
                file=file,
            )
        for id in sorted((segments if segmented else audio).keys() - texts.keys()):
            skipped.add(id, "audio without transcript", f"{folder}/text: no line for {id}; add one")


def _read(path: Path, on_error: OnError) -> Entries:
    """Read lines of `<id> <rest>`; return {id: (line number, rest)}.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: an id occurs twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; a Kaldi data directory needs wav.scp, text and utt2spk")
    found: dict[str, tuple[int, str]] = {}
    for number, line in read_lines(path, on_error):
        id, *rest = line.split(maxsplit=1)
        if id in found:
            on_error(f"{path}:{number}: {id} is already in line {found[id][0]}; remove one")
        else:
            found[id] = (number, rest[0] if rest else "")
    return found


def _channels(folder: Path, on_error: OnError) -> dict[str, tuple[int, tuple[str, str]]]:
    """Return {recording: (index of its channel, names of file and channel)} of reco2file_and_channel."""
    path = folder / _CHANNELS
    found = {}
    for id, (line, rest) in (_read(path, on_error) if path.is_file() else {}).items():
        try:
            file, channel = rest.split()
            found[id] = (channel_index(channel), (file, channel))
        except (ValueError, UserError) as error:
            reason = f": {error}" if isinstance(error, UserError) else ""
            on_error(f"{path}:{line}: {rest.strip()!r} after {id}; it should be <file> <channel, as A or 1>{reason}")
    return found


def _speakers(path: Path, texts: Entries, audio: Collection[str], on_error: OnError) -> dict[str, str]:
    """Return {utterance: speaker} of utt2spk; report what Kaldi's validate_data_dir.sh reports."""
    if not path.is_file():
        on_error(f"{path}: no such file; a Kaldi data directory needs wav.scp, text and utt2spk")
        return {}
    speakers = _read(path, on_error)
    for id, (line, speaker) in speakers.items():
        if id not in texts and id not in audio:
            on_error(f"{path}:{line}: {id} is not an utterance of text; use the same ids in both")
        if len(speaker.split()) != 1:
            on_error(f"{path}:{line}: {speaker.strip()!r} after {id}; it should be one speaker")
    for id in (id for id in texts if id not in speakers):
        on_error(f"{path}: no line for {id} (text:{texts[id][0]}); add its speaker")
    return {id: speaker.strip() for id, (_, speaker) in speakers.items()}


def _segments(folder: Path, entries: Entries, on_error: OnError) -> dict[str, tuple[str, float, float | None]]:
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
    """Write a part as a Kaldi data directory: wav.scp, text, utt2spk, spk2utt, segments and reco2file_and_channel.

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
    sources = {_channel_name(cut): _wav_scp_entry(cut.recording, cut.channel) for cut in cuts}
    places = {_channel_name(cut): recording_place(cut)[:2] for cut in cuts}
    files = {
        "wav.scp": sorted(sources.items()),
        "text": [(cut.id, cut.supervisions[0].text) for cut in cuts],
        "utt2spk": [(cut.id, cut.supervisions[0].speaker) for cut in cuts],
        "spk2utt": [(speaker, " ".join(ids)) for speaker, ids in speakers.items()],
        "segments": [(cut.id, f"{_channel_name(cut)} {cut.start:.5f} {cut.end:.5f}") for cut in cuts],
        _CHANNELS: [(name, " ".join(place)) for name, place in sorted(places.items())],
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


def _channel_name(cut: Cut) -> str:
    """Return the name of one channel of a recording, which is a recording in Kaldi."""
    return str(cut.recording_id if cut.recording.num_channels == 1 else f"{cut.recording_id}-{cut.channel + 1}")


def _wav_scp_entry(recording: Recording, channel: int) -> str:
    source = recording.sources[0]
    quoted = shlex.quote(source.source)
    if Path(source.source).suffix == ".flac" and recording.num_channels == 1:
        return f"flac -c -d -s {quoted} |"
    entry = str(make_wavscp_channel_string_map(source, recording.sampling_rate)[channel])
    return entry.replace(source.source, quoted) if entry.endswith("|") else entry

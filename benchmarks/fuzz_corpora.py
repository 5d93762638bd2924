"""Corpora and audio files for `benchmarks.fuzz`: small valid ones, and the readers of the program."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from augmem.errors import UserError
from benchmarks.fuzz import Kind

JSON = (b"Infinity", b"NaN", b"1e400", b'{"a":', b'"\\ud800"', b"{}" * 10, b"[[]]")
_AUDIO = (
    b"RIFF",
    b"data\xff\xff\xff\xff",
    b"fmt \x10\0\0\0",
    b"OggS",
    b"fLaC",
    b"\xff\xfb\x90\x64",
    b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
)


def write_files(folder: Path, **files: str | bytes) -> None:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def tone(seconds: float = 0.6, rate: int = 8000) -> np.ndarray:
    return 0.3 * np.sin(np.arange(int(seconds * rate)) / 5).astype(np.float32)


def _audio(format: str, subtype: str) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, tone(), 8000, format=format, subtype=subtype)
    return content.getvalue()


def _validate(recipe: str, root: Path) -> None:
    """Read a corpus as `augmem validate` does."""
    from augmem.corpus import CorpusConfig, validate_corpus

    config = CorpusConfig(recipe, str(root))  # type: ignore[arg-type]
    if problems := [problem for _, found in validate_corpus(config, root / "download") for problem in found]:
        raise UserError(problems[0])


def _make_folder(folder: Path) -> None:
    table = "audio\ttext\tspeaker\tid\tstart\tend\na.wav\tHello 5\tme\tx\t0\t0.5\na.wav\tBye\tyou\ty\t\t\n"
    write_files(folder, train_DOT_tsv=table)
    write_files(folder, a_DOT_wav=_audio("WAV", "PCM_16"))


def _make_kaldi(folder: Path) -> None:
    write_files(
        folder, train__text="u1 good morning\nu2 hello\n", train__utt2spk="u1 me\nu2 you\n",
        train__spk2utt="me u1\nyou u2\n",
        train__segments="u1 r 0.0 0.3\nu2 r 0.3 -1\n", train__reco2file_and_channel="r r A\n",
        train__a_DOT_wav=_audio("WAV", "PCM_16"),
    )  # fmt: skip
    (folder / "train" / "wav.scp").write_text("r a.wav\n")


def _cut(audio: str) -> dict[str, Any]:
    source = {"type": "file", "channels": [0], "source": audio}
    recording = {"id": "r", "sources": [source], "sampling_rate": 8000, "num_samples": 4800, "duration": 0.6}
    segment = {
        "id": "u",
        "recording_id": "r",
        "start": 0.0,
        "duration": 0.6,
        "channel": 0,
        "text": "hello",
        "speaker": "me",
    }
    return {
        "id": "c", "start": 0, "duration": 0.6, "channel": 0, "type": "MonoCut", "recording": recording,
        "supervisions": [segment],
    }  # fmt: skip


def _make_manifests(folder: Path) -> None:
    cut = _cut(str(folder / "a.wav"))
    recording, segment = cut["recording"], cut["supervisions"][0]
    write_files(folder, a_DOT_wav=_audio("WAV", "PCM_16"), train__cuts_DOT_jsonl=json.dumps(cut) + "\n")
    write_files(folder, dev__supervisions_DOT_jsonl=json.dumps(segment) + "\n")
    packed = gzip.compress((json.dumps(recording) + "\n").encode(), mtime=0)
    (folder / "dev" / "recordings.jsonl.gz").write_bytes(packed)


def _make_shar(folder: Path) -> None:
    cut = _cut("")
    (folder / "train").mkdir()
    (folder / "train" / "cuts.000000.jsonl.gz").write_bytes(gzip.compress((json.dumps(cut) + "\n").encode(), mtime=0))
    recording = cut["recording"] | {"sources": [{"type": "shar", "channels": [0], "source": ""}]}
    with tarfile.open(folder / "train" / "recording.000000.tar", "w") as archive:
        for name, content in (("c.flac", _audio("FLAC", "PCM_16")), ("c.json", json.dumps(recording).encode())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


_FORMATS = {
    "wav": ("WAV", "PCM_16"), "float": ("WAV", "FLOAT"), "wavex": ("WAVEX", "PCM_24"), "flac": ("FLAC", "PCM_16"),
    "vorbis": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"), "mp3": ("MP3", "MPEG_LAYER_III"), "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"), "sph": ("NIST", "PCM_16"), "caf": ("CAF", "PCM_16"), "w64": ("W64", "PCM_16"),
    "rf64": ("RF64", "PCM_16"), "alaw": ("WAV", "ALAW"), "adpcm": ("WAV", "IMA_ADPCM"),
}  # fmt: skip


def _make_audio(folder: Path) -> None:
    for name, (format, subtype) in _FORMATS.items():
        if soundfile.check_format(format, subtype):
            (folder / name).write_bytes(_audio(format, subtype))


def _read_audio(folder: Path) -> None:
    """Read the changed file as the corpus stage and `augmem transcribe` do; it is the newest."""
    from augmem.commands.transcribe import Source, read_file
    from augmem.corpus import CorpusConfig, features_of_file, validate_corpus
    from augmem.features import FeatureConfig

    changed = max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    table = folder.parent / "audio-table"
    table.mkdir(exist_ok=True)
    (table / "train.tsv").write_text(f"audio\ttext\n{changed}\thello\n")
    problems = [problem for _, found in validate_corpus(CorpusConfig("folder", str(table)), table) for problem in found]
    try:
        for _ in read_file(Source(str(changed), None, None, changed.name)):
            pass
    except (UserError, OSError):
        problems.append("transcribe refuses it")
    if problems:
        raise UserError(problems[0])
    features_of_file(changed, FeatureConfig())


CORPORA: dict[str, Kind] = {
    "tables": Kind(_make_folder, lambda folder: _validate("folder", folder), 8),
    "Kaldi directories": Kind(
        _make_kaldi, lambda folder: _validate("kaldi", folder), 8, (b"cat a.wav |", b"a.ark:3", b"-")
    ),
    "Lhotse manifests": Kind(_make_manifests, lambda folder: _validate("manifests", folder), 6, JSON),
    "Lhotse Shar": Kind(_make_shar, lambda folder: _validate("shar", folder), 4, JSON),
    "audio": Kind(_make_audio, _read_audio, 6, _AUDIO),
}

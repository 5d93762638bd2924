"""Data of the user: Kaldi data directories, folders of audio with tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import RecordingSet, SupervisionSegment, SupervisionSet

from augmem.corpus import (
    CorpusConfig,
    Limits,
    Parts,
    compute_features,
    load_cuts,
    prepare_corpus,
    read_parts,
    recording_place,
    transcripts,
    write_kaldi,
)
from augmem.corpus.audio import read_samples
from augmem.corpus.manifests import read_cuts
from augmem.errors import UserError
from augmem.experiment import manifest_digest
from augmem.features import FeatureConfig
from augmem.skipped import read_skipped
from tests.corpus.corpora import write_tone


@pytest.fixture
def kaldi(tmp_path: Path) -> Path:
    """Two recordings of 3 s, the first with two segments."""
    folder = tmp_path / "kaldi" / "train"
    for name in ("a", "b"):
        write_tone(folder / f"{name}.wav", 3.0)
    (folder / "wav.scp").write_text(f"rec-a {folder}/a.wav\nrec-b b.wav\n")
    (folder / "segments").write_text("me-1 rec-a 0.5 1.25\nme-2 rec-a 1.25 3.0\nyou-1 rec-b 0 -1\n")
    (folder / "text").write_text("me-1 good morning\nme-2 good night\nyou-1 hello\n")
    (folder / "utt2spk").write_text("me-1 me\nme-2 me\nyou-1 you\n")
    return folder


def prepare(recipe: str, root: Path, output: Path) -> dict[str, tuple[str, str]]:
    """Prepare part train as train and dev; return the skipped utterances."""
    prepare_corpus(CorpusConfig(recipe, str(root), dev=("train",), allow_overlap=True), output / "download", output)  # type: ignore[arg-type]
    return {skip.id: (skip.reason, skip.detail) for skip in read_skipped(output / "train" / "skipped.tsv")}


@pytest.mark.parametrize("name", ["supervisions.jsonl.gz", "recordings.jsonl.gz"])
def test_a_truncated_manifest_is_named_in_the_message(kaldi: Path, tmp_path: Path, name: str) -> None:
    prepare("kaldi", kaldi.parent, tmp_path / "out")
    path = tmp_path / "out" / "train" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    damaged = rf"{name}: damaged or incomplete \(.+\); run .*stage"
    for read in (read_cuts, manifest_digest):
        with pytest.raises(UserError, match=damaged):
            read(path.parent)
    if name.startswith("supervisions"):
        with pytest.raises(UserError, match=damaged):
            transcripts(path.parents[1], ["train"])


def test_kaldi_segments(kaldi: Path, tmp_path: Path) -> None:
    assert prepare("kaldi", kaldi.parent, tmp_path / "out") == {}
    found = SupervisionSet.from_file(tmp_path / "out" / "train" / "supervisions.jsonl.gz")
    facts = {s.id: (s.speaker, s.start, s.duration, s.text) for s in found}
    assert facts == {
        "me-1": ("me", 0.5, 0.75, "GOOD MORNING"),
        "me-2": ("me", 1.25, 1.75, "GOOD NIGHT"),
        "you-1": ("you", 0.0, 3.0, "HELLO"),
    }
    compute_features(FeatureConfig(), tmp_path / "out" / "train", tmp_path / "features" / "train")
    assert {cut.id: cut.num_frames for cut in load_cuts(tmp_path / "features", ["train"])} == {
        "me-1": 75,
        "me-2": 175,
        "you-1": 300,
    }


def test_single_kaldi_directory(kaldi: Path, tmp_path: Path) -> None:
    prepare_corpus(CorpusConfig("kaldi", str(kaldi)), tmp_path, tmp_path / "out")
    assert read_parts(tmp_path / "out") == Parts(("train",), ("dev-split",), ())


def test_kaldi_lines_without_counterpart_are_listed(kaldi: Path, tmp_path: Path) -> None:
    (kaldi / "text").write_text("me-1 good morning\nme-9 who is it\n")
    (kaldi / "utt2spk").write_text("me-1 me\nme-2 me\nme-9 me\nyou-1 you\n")
    skipped = prepare("kaldi", kaldi, tmp_path / "out")
    assert {id: reason for id, (reason, _) in skipped.items()} == {
        "me-9": "transcript without audio",
        "me-2": "audio without transcript",
        "you-1": "audio without transcript",
    }
    assert f"{kaldi}/text:2" in skipped["me-9"][1]


def test_kaldi_segment_outside_its_recording_is_listed(kaldi: Path, tmp_path: Path) -> None:
    (kaldi / "segments").write_text("me-1 rec-a 0.5 1.25\nme-2 rec-a 1.25 9.0\nyou-1 rec-b 2 1\n")
    skipped = prepare("kaldi", kaldi, tmp_path / "out")
    assert {reason for reason, _ in skipped.values()} == {"segment outside its audio"}
    assert set(skipped) == {"me-2", "you-1"}


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "wav.scp",
            "rec-a sox a.wav -t wav - |\n",
            r"wav\.scp:1: 'sox a\.wav -t wav - \|' is a command; write its output to",
        ),
        ("segments", "me-1 rec-a 0.5\n", r"segments:1: 'rec-a 0\.5' after me-1; it should be <recording>"),
        ("segments", "me-1 rec-a zero 1\n", r"segments:1: 'rec-a zero 1' after me-1"),
        ("utt2spk", "me-1 me\nme-2 \nyou-1 you\n", r"utt2spk:2: '' after me-2; it should be one speaker"),
        ("utt2spk", "me-1 me\nme-2 me\n", r"utt2spk: no line for you-1 \(text:3\); add its speaker"),
        ("utt2spk", "me-1.wav me\n", r"utt2spk:1: me-1\.wav is not an utterance of text"),
        (
            "reco2file_and_channel",
            "rec-a a 0\n",
            r"reco2file_and_channel:1: 'a 0' after rec-a; .*must be a number from 1",
        ),
        (
            "wav.scp",
            "rec-a wav.ark:7\n",
            r"wav\.scp:1: wav\.ark: no such file; wav\.ark:7 is a position in a Kaldi archive",
        ),
        ("text", "me-1 a\n\nme-1 b\n", r"text:3: me-1 is already in line 1; remove one"),
    ],
)
def test_kaldi_problems(kaldi: Path, tmp_path: Path, file: str, content: str, message: str) -> None:
    (kaldi / file).write_text(content)
    with pytest.raises(UserError, match=message):
        prepare("kaldi", kaldi, tmp_path / "out")


def supervisions(output: Path) -> dict[str, SupervisionSegment]:
    return {item.id: item for item in SupervisionSet.from_file(output / "train" / "supervisions.jsonl.gz")}


def two_channels(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    left, right = np.random.default_rng(0).normal(scale=(0.05, 0.2), size=(48000, 2)).T
    soundfile.write(path, np.stack([left, right], axis=1), 16000)


def test_kaldi_channels(tmp_path: Path) -> None:
    """B's utterance is channel B of the file; CTM files name file and channel; without the choice it is an error."""
    folder = tmp_path / "calls" / "train"
    two_channels(folder / "call.wav")
    (folder / "wav.scp").write_text("call-A call.wav\ncall-B call.wav\n")
    (folder / "segments").write_text("A-1 call-A 0 1\nB-1 call-B 1.5 2.5\n")
    (folder / "text").write_text("A-1 good morning\nB-1 hello\n")
    (folder / "utt2spk").write_text("A-1 A\nB-1 B\n")
    with pytest.raises(UserError, match=r"2 channels, and .*text:1 chooses none; .* reco2file_and_channel"):
        prepare("kaldi", folder, tmp_path / "out")
    (folder / "reco2file_and_channel").write_text("call-A call A\ncall-B call B\n")
    assert prepare("kaldi", folder, tmp_path / "out") == {}
    cuts = {cut.id: cut for cut in read_cuts(tmp_path / "out" / "train")}
    assert {id: recording_place(cut) for id, cut in cuts.items()} == {
        "A-1": ("call", "A", 0.0),
        "B-1": ("call", "B", 1.5),
    }
    expected = soundfile.read(folder / "call.wav", dtype="float32")[0][24000:40000, 1]
    np.testing.assert_array_equal(read_samples(cuts["B-1"])[0], expected)
    write_kaldi(tmp_path / "out" / "train", tmp_path / "again")
    assert (tmp_path / "again" / "reco2file_and_channel").read_text() == "call-A-1 call A\ncall-B-2 call B\n"


def test_folder_channels(tmp_path: Path) -> None:
    two_channels(tmp_path / "call.wav")
    rows = "audio\ttext\tid\tchannel\ncall.wav\tHi\ta\t1\ncall.wav\tHo\tb\t2\ncall.wav\tHu\tc\t3\ncall.wav\tHe\td\t\n"
    (tmp_path / "train.tsv").write_text(rows)
    skipped = prepare("folder", tmp_path, tmp_path / "out")
    assert {id: reason for id, (reason, _) in skipped.items()} == {"c": "no such channel", "d": "several channels"}
    assert {id: item.channel for id, item in supervisions(tmp_path / "out").items()} == {"a": 0, "b": 1}


def test_kaldi_archive(kaldi: Path, tmp_path: Path) -> None:
    """Recordings in an archive, given by their positions in it."""
    contents = {id: (kaldi / f"{id[-1]}.wav").read_bytes() for id in ("rec-a", "rec-b")}
    (kaldi / "wav.ark").write_bytes(b"".join(f"{id} ".encode() + content for id, content in contents.items()))
    second = 6 + len(contents["rec-a"]) + 6
    (kaldi / "wav.scp").write_text(f"rec-a wav.ark:6\nrec-b {kaldi}/wav.ark:{second}\n")
    assert prepare("kaldi", kaldi, tmp_path / "out") == {}
    recordings = RecordingSet.from_file(tmp_path / "out" / "train" / "recordings.jsonl.gz")
    assert {item.id: Path(item.sources[0].source).read_bytes() for item in recordings} == contents
    (kaldi / "wav.scp").write_text("rec-a wav.ark:5\nrec-b b.wav\n")
    with pytest.raises(UserError, match=r"wav\.scp:1: .*wav\.ark:5: no WAV file at this position"):
        prepare("kaldi", kaldi, tmp_path / "out")


def test_kaldi_commands_run_when_allowed(kaldi: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (kaldi / "wav.scp").write_text(f"rec-a cat {kaldi}/a.wav |\nrec-b b.wav\n")
    config = CorpusConfig("kaldi", str(kaldi), dev=("train",), allow_overlap=True, allow_pipes=True)
    prepare_corpus(config, tmp_path / "download", tmp_path / "out")
    assert set(supervisions(tmp_path / "out")) == {"me-1", "me-2", "you-1"}
    assert f"{kaldi}/wav.scp: running the commands of 1 lines (--allow-pipes)" in caplog.messages
    (kaldi / "wav.scp").write_text("rec-a false | cat |\nrec-b b.wav\n")
    with pytest.raises(UserError, match=r"wav\.scp:1: 'false \| cat \|' failed with status 1"):
        prepare_corpus(config, tmp_path / "download", tmp_path / "out")


def test_missing_kaldi_files_are_named(kaldi: Path, tmp_path: Path) -> None:
    (kaldi / "text").unlink()
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"text: no such file; a Kaldi data directory needs"):
        prepare("kaldi", kaldi, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no Kaldi data directory"):
        prepare("kaldi", tmp_path / "empty", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="needs --corpus-dir FOLDER"):
        prepare("kaldi", tmp_path / "nowhere", tmp_path / "out")


def test_folder_with_tables(tmp_path: Path) -> None:
    for name in ("a.wav", "far/b.flac", "c.ogg"):
        write_tone(tmp_path / "mine" / name, 2.0, rate=44100)
    (tmp_path / "mine" / "train.tsv").write_text(
        "audio\ttext\tspeaker\tstart\tend\nfar/b.flac\tHello!\tyou\t0.5\t1.5\na.wav\tNumber 5\tme\t\t\n"
    )
    (tmp_path / "mine" / "dev.tsv").write_text("audio\ttext\nc.ogg\tBye\n")
    prepare_corpus(CorpusConfig("folder", str(tmp_path / "mine")), tmp_path, tmp_path / "out")
    assert read_parts(tmp_path / "out") == Parts(("train",), ("dev",), ())
    found = SupervisionSet.from_file(tmp_path / "out" / "train" / "supervisions.jsonl.gz")
    assert [(s.id, s.speaker, s.start, s.duration, s.text) for s in found] == [
        ("far-b", "you", 0.5, 1.0, "HELLO"),
        ("a", "me", 0.0, 2.0, "NUMBER FIVE"),
    ]


def test_letters_of_other_languages_are_kept_on_request_and_counted_otherwise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        write_tone(tmp_path / "mine" / f"{name}.wav", 2.0)
    (tmp_path / "mine" / "train.tsv").write_text("audio\ttext\na.wav\tF\u00fcnf \u00c4pfel, 25!\nb.wav\t\u4f60\u597d\n")
    config = CorpusConfig("folder", str(tmp_path / "mine"), dev=("train",), allow_overlap=True)
    prepare_corpus(config, tmp_path, tmp_path / "english")
    assert (
        "part train: normalisation 'english' drops, changes or may misread 4 letters (\u00fc 1, \u00c4 1" in caplog.text
    )
    (skipped,) = read_skipped(tmp_path / "english" / "train" / "skipped.tsv")
    assert (skipped.id, skipped.reason) == (
        "b",
        "empty transcript",
    ) and "--corpus.normalisation unicode" in skipped.detail
    caplog.clear()
    prepare_corpus(replace(config, normalisation="unicode", language="de"), tmp_path, tmp_path / "unicode")
    found = SupervisionSet.from_file(tmp_path / "unicode" / "train" / "supervisions.jsonl.gz")
    assert [(s.text, s.language) for s in found] == [
        ("f\u00fcnf \u00e4pfel f\u00fcnfundzwanzig", "de"),
        ("\u4f60\u597d", "de"),
    ]
    assert "normalisation" not in caplog.text


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file\ttext\na.wav\tHi\n", r"train\.tsv:1: no column audio; the first line must name the columns"),
        ("audio\ttext\na.wav\n", r"train\.tsv:2: 1 cells, but the first line names 2 columns"),
        ("audio\ttext\tstart\na.wav\tHi\tsoon\n", r"train\.tsv:2: 'soon' is not a time in seconds"),
        ("", r"train\.tsv:1: no column audio, text"),
    ],
)
def test_folder_problems(tmp_path: Path, table: str, message: str) -> None:
    (tmp_path / "train.tsv").write_text(table)
    with pytest.raises(UserError, match=message):
        prepare("folder", tmp_path, tmp_path / "out")


def test_folder_without_tables_is_explained(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no \*\.tsv in it; write train\.tsv there"):
        prepare("folder", tmp_path, tmp_path / "out")


def test_skipped_utterances_are_reported_before_speakers_are_held_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of three speakers, one has no audio; then another has only audio over the limit."""
    for name, seconds in {"a": 2.0, "b": 2.0, "c": 41.0}.items():
        write_tone(tmp_path / "mine" / f"{name}.wav", seconds)
    rows = [f"{name}.wav\tGOOD MORNING\t{name}\n" for name in ("a", "b", "none")]
    (tmp_path / "mine" / "train.tsv").write_text("audio\ttext\tspeaker\n" + "".join(rows))
    config = CorpusConfig("folder", str(tmp_path / "mine"))
    prepare_corpus(config, tmp_path, tmp_path / "out")
    assert [skip.id for skip in read_skipped(tmp_path / "out" / "train" / "skipped.tsv")] == ["none"]
    messages = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert messages[0] == "part train: skipped 1 of 3 (1 missing audio); listed in skipped.tsv"
    assert messages[2].startswith("no dev part: tuning on speakers ")
    (tmp_path / "mine" / "train.tsv").write_text(f"audio\ttext\tspeaker\n{rows[0]}c.wav\tGOOD NIGHT\tc\n")
    caplog.clear()
    with pytest.raises(UserError, match="no dev part, and with a single speaker"):
        prepare_corpus(config, tmp_path, tmp_path / "refused")
    assert caplog.messages[0].startswith("part train: skipped 1 of 2 (1 too long)")


def test_a_warning_counts_utterances_over_the_default_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for part in ("train", "dev"):
        write_tone(tmp_path / "mine" / f"{part}.wav", 60.0)
        (tmp_path / "mine" / f"{part}.tsv").write_text(f"audio\ttext\n{part}.wav\tGOOD MORNING\n")
    prepare_corpus(
        CorpusConfig("folder", str(tmp_path / "mine"), limits=Limits(longest=90)), tmp_path, tmp_path / "out"
    )
    (message,) = (message for message in caplog.messages if "longest" in message)
    assert message == (
        "part train: corpus.limits.longest is 90; utterances over 40 s: 1, up to 60 s. The time of a training step "
        "grows with the square of the duration, its memory in proportion"
    )

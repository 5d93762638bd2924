"""Data of the user: Kaldi data directories, folders of audio with tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from lhotse import SupervisionSet

from augmem.corpus import CorpusConfig, Parts, compute_features, load_cuts, prepare_corpus, read_parts
from augmem.errors import UserError
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
        ("text", "me-1 a\n\nme-1 b\n", r"text:3: me-1 is already in line 1; remove one"),
    ],
)
def test_kaldi_problems(kaldi: Path, tmp_path: Path, file: str, content: str, message: str) -> None:
    (kaldi / file).write_text(content)
    with pytest.raises(UserError, match=message):
        prepare("kaldi", kaldi, tmp_path / "out")


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

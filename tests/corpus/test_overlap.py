"""Utterances and speakers that train, dev and test have in common."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from lhotse import SupervisionSegment

from augmem.corpus import CorpusConfig, Limits, prepare_corpus, transcripts
from augmem.errors import UserError
from augmem.recipe import recipe_parser
from augmem.skipped import read_skipped
from tests.corpus.corpora import write_chapter, write_tone


def prepare(root: Path, **options: object) -> Path:
    """Prepare a corpus with part train-a for training and dev-a for tuning; return its manifests."""
    config = CorpusConfig("librispeech", str(root / "tree"), train=("train-a",), dev=("dev-a",), **options)  # type: ignore[arg-type]
    prepare_corpus(config, root / "download", root / "out")
    return root / "out"


def write_parts(root: Path, train: list[str], dev: list[str]) -> None:
    for part, ids in (("train-a", train), ("dev-a", dev)):
        for id in ids:
            write_chapter(root / "tree", {id: f"THIS IS {id}"}, part, speaker=id.split("-")[0])


def test_shared_utterance_is_refused(tmp_path: Path) -> None:
    write_parts(tmp_path, ["7-1-0000", "8-1-0000", "9-1-0000"], ["8-1-0000", "9-1-0000", "6-1-0000"])
    message = (
        r"train \(train-a\) and dev \(dev-a\) share 2 utterances, such as 8-1-0000, 9-1-0000: .*"
        r"--train and --dev, .*--corpus\.limits\.exclude_speakers \[8,9\]"
    )
    with pytest.raises(UserError, match=message):
        prepare(tmp_path)
    assert not (tmp_path / "out" / "parts.json").exists()


def test_excluded_speakers_are_left_out_of_training_and_listed(tmp_path: Path) -> None:
    write_parts(tmp_path, ["7-1-0000", "8-1-0000"], ["8-1-0000"])
    out = prepare(tmp_path, limits=Limits(exclude_speakers=("8",)))
    assert [id for id, _ in transcripts(out, ["train-a"])] == ["7-1-0000"]
    assert [id for id, _ in transcripts(out, ["dev-a"])] == ["8-1-0000"]
    (skip,) = read_skipped(out / "train-a" / "skipped.tsv")
    assert (skip.id, skip.reason) == ("8-1-0000", "excluded speaker")


@pytest.mark.parametrize("value", ["[4088,4406]", "['4088','4406']"])
def test_speakers_to_exclude_are_read_from_the_command_line(value: str) -> None:
    parser = recipe_parser()
    config = parser.instantiate_classes(parser.parse_args(["--corpus.limits.exclude_speakers", value])).corpus
    for speaker, reason in (("4088", "excluded speaker"), ("4406", "excluded speaker"), ("19", None)):
        segment = SupervisionSegment("a", "a", 0, 2.0, text="GOOD MORNING", speaker=speaker)
        skipped = config.limits.check(segment, "a:1")
        assert (skipped and skipped.reason) == reason


def test_shared_utterances_can_be_allowed(tmp_path: Path) -> None:
    write_parts(tmp_path, ["7-1-0000"], ["7-1-0000"])
    assert transcripts(prepare(tmp_path, allow_overlap=True), ["dev-a"])


def test_shared_audio_under_another_id_is_refused(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav")
    for part, id in (("train", "one"), ("dev", "two")):
        (tmp_path / f"{part}.tsv").write_text(f"audio\ttext\tid\na.wav\tHi\t{id}\n")
    with pytest.raises(UserError, match=r"share 1 utterances, such as two"):
        prepare_corpus(CorpusConfig("folder", str(tmp_path)), tmp_path, tmp_path / "out")


def test_one_id_for_different_speech_is_accepted(tmp_path: Path) -> None:
    for part, text in (("train", "Good morning"), ("dev", "Good night")):
        write_tone(tmp_path / part / "a.wav")
        (tmp_path / f"{part}.tsv").write_text(f"audio\ttext\tid\n{part}/a.wav\t{text}\t0001\n")
    prepare_corpus(CorpusConfig("folder", str(tmp_path)), tmp_path, tmp_path / "out")


def test_dev_and_test_that_share_an_utterance_are_refused(tmp_path: Path) -> None:
    write_parts(tmp_path, ["7-1-0000"], ["8-1-0000"])
    shutil.copytree(tmp_path / "tree" / "dev-a", tmp_path / "tree" / "test-a")
    with pytest.raises(UserError, match=r"dev \(dev-a\) and test \(test-a\) share 1 utterances"):
        prepare(tmp_path, test=("test-a",))


def test_shared_speakers_are_named_in_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_parts(tmp_path, ["7-1-0000", "8-1-0000"], ["8-1-0001", "9-1-0000"])
    prepare(tmp_path)
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert warnings[0].startswith("train (train-a) and dev (dev-a) share 1 speakers, 8: error rates are lower")


def test_parts_with_nothing_in_common_raise_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_parts(tmp_path, ["7-1-0000"], ["9-1-0000"])
    prepare(tmp_path)
    assert "share" not in caplog.text

"""LibriSpeech trees: equal to Lhotse's recipe, choice of parts, malformed trees."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from lhotse import RecordingSet, SupervisionSet
from lhotse.recipes.librispeech import prepare_librispeech

from augmem.corpus import CorpusConfig, Parts, find_session, prepare_corpus, read_parts, transcripts
from augmem.corpus.librispeech import LibriSpeech, warn_of_openslr_11
from augmem.corpus.manifests import CorpusUtterance
from augmem.corpus.prepare import DEV_SPLIT, choose_dev_speakers
from augmem.errors import UserError
from augmem.skipped import SkipLog, read_skipped
from tests.corpus.corpora import MINI_SPEAKERS, PART, write_chapter, write_tone

LINES = {"7-1-0000": "GOOD MORNING", "7-1-0001": "GOOD NIGHT"}


def prepare(root: Path, output: Path, part: str = "train-tiny") -> dict[str, tuple[str, str]]:
    """Prepare a tree of one part that serves as train and dev; return id -> (reason, detail) of what was skipped."""
    prepare_corpus(CorpusConfig("librispeech", str(root), dev=(part,), allow_overlap=True), output / "download", output)
    return {skip.id: (skip.reason, skip.detail) for skip in read_skipped(output / part / "skipped.tsv")}


def test_manifests_equal_those_of_lhotse(tree: Path, manifests: Path) -> None:
    theirs = prepare_librispeech(tree, dataset_parts=[PART])[PART]
    ours = SupervisionSet.from_file(manifests / PART / "supervisions.jsonl.gz")
    facts = [{s.id: (s.text, s.speaker, s.start, s.duration) for s in them} for them in (ours, theirs["supervisions"])]
    assert len(facts[0]) == 29
    assert facts[0] == facts[1]
    recordings = RecordingSet.from_file(manifests / PART / "recordings.jsonl.gz")
    lengths = [{r.id: (r.num_samples, r.sampling_rate) for r in them} for them in (recordings, theirs["recordings"])]
    assert lengths[0] == lengths[1]


def test_transcripts_keep_the_original_text(tmp_path: Path) -> None:
    write_chapter(tmp_path / "tree", {"7-1-0000": "It's 5 o'clock, Mr. Bond!"})
    prepare(tmp_path / "tree", tmp_path / "out")
    assert transcripts(tmp_path / "out", ["train-tiny"]) == [("7-1-0000", "IT'S FIVE O'CLOCK MISTER BOND")]
    (supervision,) = SupervisionSet.from_file(tmp_path / "out/train-tiny/supervisions.jsonl.gz")
    assert supervision.custom["original_text"] == "It's 5 o'clock, Mr. Bond!"


def test_session_of_an_utterance_is_its_chapter(tmp_path: Path) -> None:
    write_chapter(tmp_path / "tree", LINES, speaker="7")
    write_chapter(tmp_path / "tree", {"8-1-0000": "GOOD DAY"}, speaker="8")
    prepare(tmp_path / "tree", tmp_path / "out")
    found = SupervisionSet.from_file(tmp_path / "out/train-tiny/supervisions.jsonl.gz")
    assert {s.id: find_session(s) for s in found} == {"7-1-0000": "7-1", "7-1-0001": "7-1", "8-1-0000": "8-1"}


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (("train-clean-5", "dev-clean-2"), Parts(("train-clean-5",), ("dev-held",), ("dev-clean-2",))),
        (("train-clean-5",), Parts(("train-clean-5",), ("dev-held",), ("test-held",))),
        (("train-clean-5", "dev-held", "test-held"), Parts(("train-clean-5",), ("dev-held",), ("test-held",))),
        (
            ("train-clean-100", "dev-clean", "dev-other", "test-clean", "test-other"),
            Parts(("train-clean-100",), ("dev-clean", "dev-other"), ("test-clean", "test-other")),
        ),
        (("train-clean-100",), Parts(("train-clean-100",), (), ())),
        (("train-mine", "test-mine"), Parts(("train-mine",), (), ("test-mine",))),
    ],
)
def test_default_parts_of_a_tree(tmp_path: Path, present: tuple[str, ...], expected: Parts) -> None:
    for part in present:
        write_chapter(tmp_path, LINES, part)
    assert LibriSpeech(tmp_path, tmp_path).defaults() == expected


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ((), Parts(("train-clean-5",), ("dev-held",), ("test-held",))),
        (
            ("train-clean-100",),
            Parts(("train-clean-100",), ("dev-clean", "dev-other"), ("test-clean", "test-other")),
        ),
    ],
)
def test_default_parts_without_a_tree(tmp_path: Path, train: tuple[str, ...], expected: Parts) -> None:
    assert LibriSpeech(None, tmp_path).defaults(train) == expected


def test_parts_come_from_the_tree_then_from_the_carried_corpus(carried: Path, tmp_path: Path) -> None:
    write_chapter(tmp_path / "tree", LINES, "train-clean-5")
    corpus = LibriSpeech(tmp_path / "tree", tmp_path / "download", carried)
    skips = SkipLog()
    assert [u.id for u in corpus.utterances("train-clean-5", skips)] == list(LINES)
    unpacked = list(corpus.utterances("dev-held", skips))
    assert {u.speaker for u in unpacked} == {"5", "6"}
    assert {u.audio.suffix for u in unpacked} == {".opus"}
    assert all(u.audio.is_file() for u in unpacked)
    assert not skips.items


def test_carried_corpus_is_the_default(carried: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augmem.corpus.librispeech.CARRIED", carried)
    prepare_corpus(CorpusConfig(), tmp_path / "download", tmp_path / "out")
    parts = read_parts(tmp_path / "out")
    assert parts == Parts(("train-clean-5",), ("dev-held",), ("test-held",))
    found = {part: {id.split("-")[0] for id, _ in transcripts(tmp_path / "out", [part])} for part in parts.all()}
    assert found == {part: {*speakers} for part, speakers in MINI_SPEAKERS.items()}


@pytest.mark.parametrize("name", ["3-gram.pruned.1e-7.arpa.gz", "4-gram.arpa.gz", "librispeech-lexicon.txt"])
def test_warning_of_openslr_11_for_held_out_parts(name: str, caplog: pytest.LogCaptureFixture) -> None:
    warn_of_openslr_11(Parts(("train-clean-5",), ("dev-held",), ("dev-clean-2",)), [None, f"lm/{name}"])
    assert f"lm/{name}: looks like OpenSLR 11" in caplog.text
    assert "read in dev-held;" in caplog.text


def test_no_warning_of_openslr_11_for_official_parts_and_carried_models(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_openslr_11(Parts(("train-clean-100",), ("dev-clean",), ("test-clean",)), ["4-gram.arpa.gz"])
    warn_of_openslr_11(Parts(("train-clean-5",), ("dev-held",), ("test-held",)), ["3gram-small.arpa.gz", None])
    assert not caplog.text


def test_dev_split_has_its_own_speakers(tree: Path, tmp_path: Path) -> None:
    prepare_corpus(CorpusConfig("librispeech", str(tree)), tmp_path / "download", tmp_path)
    assert read_parts(tmp_path) == Parts((PART,), (DEV_SPLIT,), ())
    speakers = [{id.split("-")[0] for id, _ in transcripts(tmp_path, [part])} for part in (PART, DEV_SPLIT)]
    assert not speakers[0] & speakers[1]
    assert len(transcripts(tmp_path, [PART, DEV_SPLIT])) == 29


def test_dev_split_needs_two_speakers() -> None:
    lines = [CorpusUtterance(str(i), Path("a.flac"), "HI", "me", "a:1") for i in range(9)]
    with pytest.raises(UserError, match="single speaker"):
        choose_dev_speakers(lines)


def test_unknown_part_is_an_error(tree: Path, tmp_path: Path) -> None:
    message = f"no part nothing in this corpus; it has: {PART}; also available: train-clean-5, dev-held, test-held, "
    with pytest.raises(UserError, match=message):
        prepare_corpus(CorpusConfig("librispeech", str(tree), test=("nothing",)), tmp_path, tmp_path)


def test_missing_and_empty_trees_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: no such folder; --corpus-dir"):
        LibriSpeech(tmp_path / "nowhere", tmp_path)
    with pytest.raises(UserError, match=r"no part in it; there should be files .*\.trans\.txt"):
        LibriSpeech(tmp_path, tmp_path)


def test_missing_audio_and_missing_transcript_are_listed(tmp_path: Path) -> None:
    transcript = write_chapter(tmp_path / "tree", LINES)
    (transcript.parent / "7-1-0000.flac").rename(transcript.parent / "7-1-0009.flac")
    skipped = prepare(tmp_path / "tree", tmp_path / "out")
    reason, detail = skipped["7-1-0000"]
    assert reason == "missing audio"
    assert f"{transcript}:1" in detail
    reason, detail = skipped["7-1-0009"]
    assert reason == "audio without transcript"
    assert str(transcript) in detail
    assert [id for id, _ in transcripts(tmp_path / "out", ["train-tiny"])] == ["7-1-0001"]


@pytest.mark.parametrize("text", ["", "  ", "<sigh>", "..."])
def test_empty_transcript_is_listed(tmp_path: Path, text: str) -> None:
    transcript = write_chapter(tmp_path / "tree", {**LINES, "7-1-0002": text})
    reason, detail = prepare(tmp_path / "tree", tmp_path / "out")["7-1-0002"]
    assert reason == "empty transcript"
    assert f"{transcript}:3" in detail


@pytest.mark.parametrize("content", [b"", b"this is not audio", b"fLaC\0\0"])
def test_unreadable_audio_is_listed(tmp_path: Path, content: bytes) -> None:
    transcript = write_chapter(tmp_path / "tree", LINES)
    (transcript.parent / "7-1-0001.flac").write_bytes(content)
    reason, detail = prepare(tmp_path / "tree", tmp_path / "out")["7-1-0001"]
    assert reason == "unreadable audio"
    assert str(transcript.parent / "7-1-0001.flac") in detail
    assert "Fetch it again" in detail


def test_low_sampling_rate_is_listed(tmp_path: Path) -> None:
    transcript = write_chapter(tmp_path / "tree", LINES)
    (transcript.parent / "7-1-0001.flac").unlink()
    write_tone(transcript.parent / "7-1-0001.wav", rate=4000)
    reason, detail = prepare(tmp_path / "tree", tmp_path / "out")["7-1-0001"]
    assert reason == "sampling rate too low"
    assert "4000 Hz" in detail


def test_text_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    transcript = write_chapter(tmp_path / "tree", LINES)
    transcript.write_bytes(b"7-1-0000 GOOD\n7-1-0001 CAF\xc9\n")
    with pytest.raises(UserError, match=r"7-1\.trans\.txt:2: byte 0xc9 at column 13 is not UTF-8.*iconv"):
        prepare(tmp_path / "tree", tmp_path / "out")


def test_duplicate_id_is_an_error(tmp_path: Path) -> None:
    transcript = write_chapter(tmp_path / "tree", LINES)
    transcript.write_text("7-1-0000 GOOD\n7-1-0000 BAD\n")
    with pytest.raises(UserError, match=r"7-1\.trans\.txt:2: utterance 7-1-0000 is already at .*:1"):
        prepare(tmp_path / "tree", tmp_path / "out")


def test_part_without_usable_utterances_is_an_error(tmp_path: Path) -> None:
    transcript = write_chapter(tmp_path / "tree", LINES)
    for audio in transcript.parent.glob("*.flac"):
        audio.unlink()
    with pytest.raises(UserError, match=r"no usable utterance, 2 skipped: \{'missing audio': 2\}"):
        prepare(tmp_path / "tree", tmp_path / "out")


def test_log_counts_skipped_utterances(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    transcript = write_chapter(tmp_path / "tree", LINES)
    (transcript.parent / "7-1-0000.flac").unlink()
    with caplog.at_level("INFO"):
        prepare(tmp_path / "tree", tmp_path / "out")
    assert "skipped 1 of 2 (1 missing audio); listed in" in caplog.text


def test_stereo_is_skipped_because_no_channel_is_chosen(tmp_path: Path) -> None:
    transcript = write_chapter(tmp_path / "tree", LINES)
    write_tone(transcript.parent / "7-1-0001.flac", channels=2)
    assert soundfile.info(transcript.parent / "7-1-0001.flac").channels == 2
    assert prepare(tmp_path / "tree", tmp_path / "out")["7-1-0001"][0] == "several channels"

"""LibriSpeech trees: against Lhotse's own recipe, the choice of parts, and everything that can be wrong with them."""

from __future__ import annotations

import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.error import URLError

import pytest
import soundfile
from lhotse import RecordingSet, SupervisionSet
from lhotse.recipes.librispeech import prepare_librispeech

from augmem.corpus import CorpusConfig, Parts, prepare_corpus, read_parts, session_of, transcripts
from augmem.corpus.fixture import PART
from augmem.corpus.librispeech import LibriSpeech, download
from augmem.corpus.manifests import Utterance
from augmem.corpus.prepare import DEV_SPLIT, choose_dev_speakers
from augmem.corpus.skips import SkipList
from tests.corpus.corpora import write_chapter, write_tone

MINI = "train-clean-5"
LINES = {"7-1-0000": "GOOD MORNING", "7-1-0001": "GOOD NIGHT"}


def prepare(root: Path, output: Path, part: str = "train-tiny") -> dict[str, tuple[str, str]]:
    """Prepare a tree of one part that serves as train and dev; return id -> (reason, detail) of what was skipped."""
    prepare_corpus(CorpusConfig("librispeech", str(root), dev=(part,)), output / "download", output)
    return {skip.id: (skip.reason, skip.detail) for skip in SkipList.read(output / part / "skipped.tsv")}


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
    assert {s.id: session_of(s) for s in found} == {"7-1-0000": "7-1", "7-1-0001": "7-1", "8-1-0000": "8-1"}


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (("train-clean-5", "dev-clean-2"), Parts(("train-clean-5",), ("dev-clean-2",), ())),
        (
            ("train-clean-100", "dev-clean", "dev-other", "test-clean", "test-other"),
            Parts(("train-clean-100",), ("dev-clean", "dev-other"), ("test-clean", "test-other")),
        ),
        (("train-mine", "test-mine"), Parts(("train-mine",), (), ("test-mine",))),
    ],
)
def test_default_parts(tmp_path: Path, present: tuple[str, ...], expected: Parts) -> None:
    for part in present:
        write_chapter(tmp_path, LINES, part)
    assert LibriSpeech(tmp_path).defaults() == expected


def test_dev_split_has_its_own_speakers(tree: Path, tmp_path: Path) -> None:
    prepare_corpus(CorpusConfig("librispeech", str(tree)), tmp_path / "download", tmp_path)
    assert read_parts(tmp_path) == Parts((PART,), (DEV_SPLIT,), ())
    heard = [{id.split("-")[0] for id, _ in transcripts(tmp_path, [part])} for part in (PART, DEV_SPLIT)]
    assert not heard[0] & heard[1]
    assert len(transcripts(tmp_path, [PART, DEV_SPLIT])) == 29


def test_dev_split_wants_two_speakers() -> None:
    lines = [Utterance(str(i), Path("a.flac"), "HI", "me", "a:1") for i in range(9)]
    with pytest.raises(ValueError, match="single speaker"):
        choose_dev_speakers(lines)


def test_unknown_part(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"no part nothing in this corpus; it has: {PART}"):
        prepare_corpus(CorpusConfig("librispeech", str(tree), test=("nothing",)), tmp_path, tmp_path)


def test_no_tree(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such folder; --corpus-dir"):
        LibriSpeech(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no part in it; there should be files .*\.trans\.txt"):
        LibriSpeech(tmp_path)


def test_missing_audio_and_missing_transcript(tmp_path: Path) -> None:
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
def test_empty_transcript(tmp_path: Path, text: str) -> None:
    transcript = write_chapter(tmp_path / "tree", {**LINES, "7-1-0002": text})
    reason, detail = prepare(tmp_path / "tree", tmp_path / "out")["7-1-0002"]
    assert reason == "empty transcript"
    assert f"{transcript}:3" in detail


@pytest.mark.parametrize("content", [b"", b"this is no sound", b"fLaC\0\0"])
def test_unreadable_audio(tmp_path: Path, content: bytes) -> None:
    transcript = write_chapter(tmp_path / "tree", LINES)
    (transcript.parent / "7-1-0001.flac").write_bytes(content)
    reason, detail = prepare(tmp_path / "tree", tmp_path / "out")["7-1-0001"]
    assert reason == "unreadable audio"
    assert str(transcript.parent / "7-1-0001.flac") in detail
    assert "Fetch it again" in detail


def test_sampling_rate_too_low(tmp_path: Path) -> None:
    transcript = write_chapter(tmp_path / "tree", LINES)
    (transcript.parent / "7-1-0001.flac").unlink()
    write_tone(transcript.parent / "7-1-0001.wav", rate=4000)
    reason, detail = prepare(tmp_path / "tree", tmp_path / "out")["7-1-0001"]
    assert reason == "sampling rate too low"
    assert "4000 Hz" in detail


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    transcript = write_chapter(tmp_path / "tree", LINES)
    transcript.write_bytes(b"7-1-0000 GOOD\n7-1-0001 CAF\xc9\n")
    with pytest.raises(ValueError, match=r"7-1\.trans\.txt:2: byte 0xc9 at column 13 is not UTF-8.*iconv"):
        prepare(tmp_path / "tree", tmp_path / "out")


def test_one_id_twice(tmp_path: Path) -> None:
    transcript = write_chapter(tmp_path / "tree", LINES)
    transcript.write_text("7-1-0000 GOOD\n7-1-0000 BAD\n")
    with pytest.raises(ValueError, match=r"7-1\.trans\.txt:2: utterance 7-1-0000 stands already at .*:1"):
        prepare(tmp_path / "tree", tmp_path / "out")


def test_nothing_usable(tmp_path: Path) -> None:
    transcript = write_chapter(tmp_path / "tree", LINES)
    for audio in transcript.parent.glob("*.flac"):
        audio.unlink()
    with pytest.raises(ValueError, match=r"no usable utterance, 2 skipped: \{'missing audio': 2\}"):
        prepare(tmp_path / "tree", tmp_path / "out")


def test_the_log_counts_and_names_what_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    transcript = write_chapter(tmp_path / "tree", LINES)
    (transcript.parent / "7-1-0000.flac").unlink()
    with caplog.at_level("INFO"):
        prepare(tmp_path / "tree", tmp_path / "out")
    assert "skipped 1 of 2 (1 missing audio); listed in" in caplog.text


def test_stereo_is_accepted(tmp_path: Path) -> None:
    transcript = write_chapter(tmp_path / "tree", LINES)
    write_tone(transcript.parent / "7-1-0001.flac", channels=2)
    assert soundfile.info(transcript.parent / "7-1-0001.flac").channels == 2
    assert prepare(tmp_path / "tree", tmp_path / "out") == {}


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (URLError("no network"), FileNotFoundError, r"could not download .*no network.*openslr\.org/12.*--corpus-dir"),
        (
            tarfile.ReadError("cut short"),
            ValueError,
            r"or damaged \(cut short\); run again to .* delete its \.tar\.gz and run",
        ),
    ],
)
def test_download_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, kind: type[Exception], message: str
) -> None:
    def fail(folder: Path, dataset_parts: list[str], base_url: str) -> None:
        assert dataset_parts == ["train-clean-5", "dev-clean-2"]
        raise fault

    monkeypatch.setattr("augmem.corpus.librispeech.download_librispeech", fail)
    with pytest.raises(kind, match=message):
        prepare_corpus(CorpusConfig("librispeech"), tmp_path, tmp_path / "out")


class Library(BaseHTTPRequestHandler):
    """A server of archives that breaks off in the middle of the first answer, and goes on where it is asked to."""

    archives: ClassVar[dict[str, bytes]]
    asked: ClassVar[list[str]]

    def do_GET(self) -> None:
        content = self.archives[self.path]
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.asked.append(f"{self.path} from {start}")
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[start : len(content) // 2 if len(self.asked) == 1 else None])

    def log_message(self, *arguments: object) -> None:
        """Silence."""


def test_an_interrupted_download_goes_on_where_it_was(tree: Path, tmp_path: Path) -> None:
    archive = tmp_path / "part.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tree / PART, f"LibriSpeech/{MINI}")
    Library.archives, Library.asked = {f"/31/{MINI}.tar.gz": archive.read_bytes()}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Library)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(ValueError, match=r"cut short or damaged .* run again to fetch the rest"):
            download(tmp_path / "down", (MINI,), address)
        root = download(tmp_path / "down", (MINI,), address)
    finally:
        server.shutdown()
    half = archive.stat().st_size // 2
    assert Library.asked == [f"/31/{MINI}.tar.gz from 0", f"/31/{MINI}.tar.gz from {half}"]
    assert LibriSpeech(root).names() == (MINI,)
    flacs = {path.name: path.read_bytes() for path in (root / MINI).rglob("*.flac")}
    assert flacs == {path.name: path.read_bytes() for path in (tree / PART).rglob("*.flac")}

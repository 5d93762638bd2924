"""The compact copy: what it contains, that it is reproducible, and what it refuses."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from pathlib import Path

import pytest
import soundfile

from augmem.corpus import compact_corpus
from augmem.corpus.compact import encode_opus
from augmem.errors import UserError
from tests.corpus.corpora import (
    MINI_SPEAKERS,
    build_mini_librispeech,
    encode_with_libsndfile,
    write_chapter,
    write_tone,
)

needs_opusenc = pytest.mark.skipif(shutil.which("opusenc") is None, reason="no opusenc")


def sizes(content: bytes) -> tuple[int, int]:
    """Samples and sampling rate of an audio file."""
    info = soundfile.info(io.BytesIO(content))
    return info.frames, info.samplerate


def test_copy_has_all_transcripts_and_all_audio_of_equal_length(carried: Path, mini_tree: Path) -> None:
    for part in MINI_SPEAKERS:
        with tarfile.open(carried / f"{part}.tar") as tar:
            members = tar.getmembers()
            content = {m.name: tar.extractfile(m).read() for m in members}  # type: ignore[union-attr]
        assert list(content) == sorted(content)
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
        files = [path for path in (mini_tree / part).rglob("*") if path.is_file()]
        assert len(files) == len(content)
        for path in files:
            name = str(path.relative_to(mini_tree)).replace(".flac", ".opus")
            if path.suffix == ".txt":
                assert content[name] == path.read_bytes()
            else:
                assert sizes(content[name]) == sizes(path.read_bytes())


def test_tables_have_the_speakers_and_chapters_of_the_copy(mini_tree: Path, tmp_path: Path) -> None:
    compact_corpus(mini_tree, tmp_path / "copy", 12, ["dev-held"], encode_with_libsndfile)
    names = {path.name for path in (tmp_path / "copy").iterdir()}
    assert names == {"dev-held.tar", "SPEAKERS.TXT", "CHAPTERS.TXT", "LICENSE.TXT", "README.md", "SHA256SUMS"}
    lines = (tmp_path / "copy" / "SPEAKERS.TXT").read_text().splitlines()
    assert [line.split()[0] for line in lines] == [";", "5", "6"]
    assert (tmp_path / "copy" / "CHAPTERS.TXT").read_text().splitlines()[1].startswith("1 ")
    readme = (tmp_path / "copy" / "README.md").read_text()
    assert "| dev-held | speakers 4088, 4406 of train-clean-100 |" in readme
    assert "CC-BY-4.0" in readme and "12 kbit/s" in readme


def test_checksums_are_those_of_the_files(carried: Path) -> None:
    lines = [line.split("  ") for line in (carried / "SHA256SUMS").read_text().splitlines()]
    assert {name for _, name in lines} == {path.name for path in carried.iterdir()} - {"SHA256SUMS"}
    for digest, name in lines:
        assert hashlib.sha256((carried / name).read_bytes()).hexdigest() == digest


@needs_opusenc
def test_copy_is_reproducible(mini_tree: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        compact_corpus(mini_tree, tmp_path / name, 12, ["test-held"])
    one, other = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "other"))
    assert one == other


@needs_opusenc
def test_opusenc_keeps_length_and_keeps_to_the_bit_rate() -> None:
    samples, rate = soundfile.read(Path("tests/fixtures/speech/flac/jfk.flac"), dtype="int16")
    content = encode_opus(samples, rate, 12)
    assert sizes(content) == (len(samples), rate)
    assert 8 * len(content) / (len(samples) / rate) == pytest.approx(12000, rel=0.15)


def test_held_out_parts_are_taken_from_train_clean_100(tmp_path: Path) -> None:
    tree = build_mini_librispeech(tmp_path / "tree")
    shutil.rmtree(tree / "dev-held")
    for speaker in ("4088", "4406", "19"):
        write_chapter(tree, {f"{speaker}-1-0000": "GOOD DAY"}, "train-clean-100", speaker)
    (made,) = compact_corpus(tree, tmp_path / "copy", 12, ["dev-held"], encode_with_libsndfile)
    assert (made.utterances, made.speakers) == (2, {"4088", "4406"})
    with tarfile.open(tmp_path / "copy" / "dev-held.tar") as tar:
        assert "dev-held/4088/1/4088-1-0000.opus" in tar.getnames()


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("no audio", r"dev-held: 1 problems; .*5-1-0000\.flac: no such file, but .*5-1\.trans\.txt:1 names it"),
        ("no transcript", r"dev-held: 1 problems; .*5-1-0099\.flac: .*5-1\.trans\.txt has no line for it"),
        ("no part", r"no part train-clean-100; it has: test-held, train-clean-5"),
        ("no table", r"SPEAKERS\.TXT: no such file; copy it from"),
        ("stereo", r"5-1-0000\.flac: 2 channels, 16000 Hz"),
    ],
)
def test_faulty_tree_is_refused_and_nothing_is_written(tmp_path: Path, problem: str, message: str) -> None:
    tree = build_mini_librispeech(tmp_path / "tree")
    audio = tree / "dev-held" / "5" / "1" / "5-1-0000.flac"
    if problem == "no audio":
        audio.unlink()
    elif problem == "no transcript":
        shutil.copyfile(audio, audio.with_name("5-1-0099.flac"))
    elif problem == "no part":
        shutil.rmtree(tree / "dev-held")
    elif problem == "no table":
        (tree / "SPEAKERS.TXT").unlink()
    else:
        write_tone(audio, channels=2)
    with pytest.raises(UserError, match=message):
        compact_corpus(tree, tmp_path / "copy", 12, ["dev-held"], encode_with_libsndfile)
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


def test_existing_folder_is_not_replaced(mini_tree: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(UserError, match=r"not empty; remove it, or give another folder with --output"):
        compact_corpus(mini_tree, tmp_path, 12, ["dev-held"], encode_with_libsndfile)
    assert (tmp_path / "mine").read_text() == "precious"


def test_missing_opusenc_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    samples, rate = soundfile.read(Path("tests/fixtures/speech/flac/jfk.flac"), dtype="int16")
    with pytest.raises(UserError, match=r"no opusenc on this machine.*apt-get install opus-tools"):
        encode_opus(samples, rate, 12)

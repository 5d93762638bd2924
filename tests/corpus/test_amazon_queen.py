"""Amazon Queen: the transcripts, the format of the archive, manifests of a package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lhotse import SupervisionSet

from augmem.corpus import CorpusConfig, Parts, prepare_corpus, read_parts
from augmem.corpus.amazon_queen import ARCHIVE, HELD_OUT, PACKAGE, PARTS, AmazonQueen, extract_audio, read_index
from augmem.corpus.manifests import CorpusUtterance
from augmem.errors import UserError
from augmem.skipped import SkipLog, read_skipped
from tests.corpus.corpora import debian_package, queen_archive, write_tone


def lines(part: str, audio: Path = Path("audio")) -> list[CorpusUtterance]:
    return list(AmazonQueen(audio).utterances(part, SkipLog()))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with two lines of each held-out part, three of the digest, one of them with half its audio."""
    folder = tmp_path_factory.mktemp("package")
    chosen = [line for part in HELD_OUT for line in lines(part)[:2]] + lines("digest")[:3]
    entries = {"README": b"no speech"}
    for number, line in enumerate(chosen):
        seconds = line.seconds or 0.0
        length = seconds / 2 if number == len(chosen) - 1 else seconds
        entries[f"{line.audio.stem}.SB"] = write_tone(folder / line.audio.name, length, 11025).read_bytes()
    return debian_package(folder / f"{PACKAGE}_1_all.deb", {ARCHIVE: queen_archive(entries)})


def test_sizes_of_the_parts() -> None:
    found = {part: (len(lines(part)), round(sum(line.seconds or 0 for line in lines(part)) / 60, 1)) for part in PARTS}
    assert found == {
        "digest": (2431, 88.1),
        "full": (5622, 232.6),
        "dev_joe": (147, 5.5),
        "test_joe": (138, 5.5),
        "dev_cast": (225, 12.6),
        "test_cast": (320, 12.3),
    }


def test_held_out_lines_and_characters_are_not_in_training() -> None:
    training = lines("full")
    assert {line.id for line in lines("digest")} < {line.id for line in training}
    for part in HELD_OUT:
        assert not {line.id for line in lines(part)} & {line.id for line in training}
    for part in ("dev_cast", "test_cast"):
        assert not {line.speaker for line in lines(part)} & {line.speaker for line in training}


def test_manifests_of_a_package(package: Path, tmp_path: Path) -> None:
    prepare_corpus(
        CorpusConfig("amazon_queen", str(package), train=("digest",)), tmp_path / "download", tmp_path / "out"
    )
    parts = read_parts(tmp_path / "out")
    assert parts == Parts(("digest",), ("dev_joe", "dev_cast"), ("test_joe", "test_cast"))
    for part in parts.all():
        expected = lines(part)[:2]
        found = SupervisionSet.from_file(tmp_path / "out" / part / "supervisions.jsonl.gz")
        assert [line.id for line in expected] == [supervision.id for supervision in found]
        assert [line.text for line in expected] == [s.custom["original_text"] for s in found]
        assert [line.speaker for line in expected] == [supervision.speaker for supervision in found]
        assert all(s.duration == pytest.approx(line.seconds, abs=0.1) for line, s in zip(expected, found, strict=True))
    skips = read_skipped(tmp_path / "out" / "digest" / "skipped.tsv")
    assert SkipLog(skips).counts() == {"missing audio": 2428, "wrong duration": 1}
    assert next(skip for skip in skips if skip.reason == "wrong duration").id == lines("digest")[2].id


def test_default_parts(tmp_path: Path) -> None:
    assert AmazonQueen(tmp_path).defaults() == Parts(("full",), ("dev_joe", "dev_cast"), ("test_joe", "test_cast"))


def test_audio_is_extracted_once(package: Path, tmp_path: Path) -> None:
    AmazonQueen.from_package(package, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "audio").glob("*.mp3")}
    AmazonQueen.from_package(package, tmp_path)
    AmazonQueen.from_package(None, tmp_path)  # needs no package any more
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "audio").glob("*.mp3")}
    assert len(before) == 11


def test_another_package_replaces_the_audio(package: Path, tmp_path: Path) -> None:
    AmazonQueen.from_package(package, tmp_path)
    other = debian_package(tmp_path / "other.deb", {ARCHIVE: queen_archive({"NEW.SB": b"sound"})})
    AmazonQueen.from_package(other, tmp_path)
    assert [path.name for path in (tmp_path / "audio").glob("*.mp3")] == ["NEW.mp3"]


def test_interrupted_extraction_leaves_no_folder(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("augmem.corpus.amazon_queen.track", interrupted)
        AmazonQueen.from_package(package, tmp_path)
    assert not (tmp_path / "audio").exists()
    (tmp_path / ".audio.partial-1").mkdir()  # what kill -9 would have left
    AmazonQueen.from_package(package, tmp_path)
    assert len(list((tmp_path / "audio").glob("*.mp3"))) == 11
    assert [path.name for path in tmp_path.iterdir()] == ["audio"]


def interrupted(items: list[object], *_: object, **__: object) -> Iterator[object]:
    """Replaces track: the user presses control-C after three items."""
    yield from items[:3]
    raise KeyboardInterrupt


@given(st.dictionaries(st.from_regex(r"[A-Z0-9]{1,8}\.(SB|DAT)", fullmatch=True), st.binary(max_size=50), max_size=9))
def test_every_entry_of_an_archive_is_found(entries: dict[str, bytes]) -> None:
    archive = queen_archive(entries)
    found = {name: archive[offset : offset + size] for name, offset, size in read_index(archive, "queen.1c")}
    assert found == entries


@given(st.data())
def test_truncated_archive_is_an_error(data: st.DataObject) -> None:
    archive = queen_archive({"A.SB": b"sound", "B.SB": b"more sound"})
    length = data.draw(st.integers(0, len(archive) - 1))
    with pytest.raises(UserError, match=r"^queen\.1c: .*get the package again"):
        read_index(archive[:length], "queen.1c")


@pytest.mark.parametrize("name", ["../A.SB", "A/B.SB", "A\\B.SB"])
def test_entry_name_that_is_a_path_is_an_error(name: str) -> None:
    with pytest.raises(UserError, match=r"queen\.1c: entry .* is not a file name; get the package again"):
        read_index(queen_archive({name: b"sound"}), "queen.1c")


def test_missing_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.deb: no such package; give the \.deb"):
        extract_audio(tmp_path / "none.deb", tmp_path / "audio")

"""Validation: all problems at once, limits, Lhotse manifests, Kaldi export, malformed input."""

from __future__ import annotations

import gzip
import random
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse import CutSet, Recording, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.audio import AudioSource
from lhotse.cut import Cut
from lhotse.utils import fastcopy

from augmem.cli import parse_and_run
from augmem.corpus import CorpusConfig, Limits, compute_features, prepare_corpus, validate_corpus, write_kaldi
from augmem.corpus.manifests import read_cuts
from augmem.errors import UserError
from augmem.features import FeatureConfig
from augmem.skipped import read_skipped
from tests.corpus.corpora import PART, write_tone

BAD_FILES = Path(__file__).parent / "bad"


def kaldi_directory(root: Path) -> Path:
    """Two recordings of 3 s, one of them in two segments."""
    folder = root / "train"
    for name in ("a", "b"):
        write_tone(folder / f"{name}.wav", 3.0)
    (folder / "wav.scp").write_text(f"rec-a {folder}/a.wav\nrec-b {folder}/b.wav\n")
    (folder / "segments").write_text(
        "me-1 rec-a 0.50000 1.25000\nme-2 rec-a 1.25000 3.00000\nyou-1 rec-b 0.00000 3.00000\n"
    )
    (folder / "text").write_text("me-1 GOOD MORNING\nme-2 GOOD NIGHT\nyou-1 HELLO\n")
    (folder / "utt2spk").write_text("me-1 me\nme-2 me\nyou-1 you\n")
    return folder


def folder_of_audio(root: Path) -> Path:
    for name in ("a", "b"):
        write_tone(root / f"{name}.wav", 2.0)
    (root / "train.tsv").write_text("audio\ttext\tspeaker\tstart\tend\na.wav\tHi\tme\t0\t1\nb.wav\tHello\tyou\t\t\n")
    return root


def manifests_of(root: Path) -> Path:
    """The Kaldi directory as uncompressed Lhotse manifests."""
    kaldi_directory(root / "kaldi")
    prepare(root / "kaldi", "kaldi", root / "made")
    (root / "lhotse").mkdir()
    for kind in (RecordingSet, SupervisionSet):
        name = "recordings" if kind is RecordingSet else "supervisions"
        kind.from_file(root / "made" / "train" / f"{name}.jsonl.gz").to_file(root / "lhotse" / f"my_{name}_train.jsonl")
    return root / "lhotse"


def prepare(root: Path, recipe: str, output: Path, limits: Limits | None = None, dev: str = "train") -> None:
    config = CorpusConfig(recipe, str(root), ("train",), (dev,), limits=limits or Limits(), allow_overlap=True)  # type: ignore[arg-type]
    prepare_corpus(config, output / "download", output)


def problems(recipe: str, root: Path) -> list[str]:
    ((_, found),) = validate_corpus(CorpusConfig(recipe, str(root)), root)  # type: ignore[arg-type]
    return found


def test_all_problems_are_found_at_once(tmp_path: Path) -> None:
    folder = kaldi_directory(tmp_path)
    (folder / "wav.scp").write_text(f"rec-a {folder}/a.wav\nrec-b sox b.wav -t wav - |\nrec-c {folder}/c.wav\n")
    with (folder / "text").open("ab") as text:
        text.write(b"you-2 caf\xe9\nme-1 AGAIN\nme-3 \nme-9 WHO\nme-4 LATE\n")
    with (folder / "segments").open("a") as segments:
        segments.write("me-3 rec-a 0 1\nme-4 rec-a 2 9\nme-5 rec-a now\n")
    with (folder / "utt2spk").open("a") as speakers:
        speakers.write("me-3 me\nme-4 me\nme-9 me\n")
    found = problems("kaldi", folder)
    expected = [
        f"{folder}/wav.scp:2: 'sox b.wav -t wav - |' is a command; write its output to a WAV or FLAC file",
        f"{folder}/segments:6: 'rec-a now' after me-5; it should be <recording> <start s> <end s>",
        f"{folder}/text:4: byte 0xe9 at column 10 is not UTF-8; convert the file",
        f"{folder}/text:5: me-1 is already in line 1; remove one",
        f"{folder}/text:3: you-1 has no line in segments, or its recording has none in wav.scp; add it",
        f"{folder}/text:6: no words in ''",
        f"{folder}/text:7: me-9 has no line in segments",
        f"{folder}/text:8: 2.0 s to 9.0 s is not inside {folder}/a.wav",
    ]
    for beginning in expected:
        assert any(problem.startswith(beginning) for problem in found), (beginning, found)
    assert len(found) == len(expected)


def test_audio_is_decoded_to_its_end(tmp_path: Path) -> None:
    root = folder_of_audio(tmp_path)
    whole = write_tone(tmp_path / "b.flac", 2.0).read_bytes()
    (tmp_path / "b.flac").write_bytes(whole[: len(whole) // 2])
    table = root / "train.tsv"
    table.write_text(table.read_text().replace("b.wav", "b.flac"))
    (problem,) = problems("folder", root)
    assert problem.startswith(f"{root}/b.flac: cannot be decoded")
    assert problem.endswith("(unreadable audio: b)")


@pytest.mark.parametrize(("recipe", "make"), [("kaldi", kaldi_directory), ("folder", folder_of_audio)])
def test_command_line(
    tmp_path: Path, recipe: str, make: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = make(tmp_path)
    arguments = ["validate", str(root), "--corpus", recipe]
    assert parse_and_run(arguments) == 0
    assert capsys.readouterr().out == "part train: no problems found\n"
    assert parse_and_run([*arguments, "--longest", "2.5", "--shortest", "1.6"]) == 1
    problems, last = capsys.readouterr().out.rsplit("part train: ", maxsplit=1)
    reasons = {"kaldi": ["too short: me-1", "too long: you-1"], "folder": ["too short: a"]}[recipe]
    assert [line.rsplit("(")[-1][:-1] for line in problems.splitlines()] == reasons
    assert last == f"{len(reasons)} problems\n"


def test_limits_apply_to_training_parts_only(tmp_path: Path) -> None:
    root = folder_of_audio(tmp_path / "mine")
    for name, text in {"c": "a" * 80, "d": "x"}.items():
        write_tone(root / f"{name}.wav", 2.0)
        with (root / "train.tsv").open("a") as table:
            table.write(f"{name}.wav\t{text}\tme\t\t\n")
    (root / "dev.tsv").write_text((root / "train.tsv").read_text())
    limits = Limits(shortest=1.5, most_characters=30, fewest_characters=1)
    prepare(root, "folder", tmp_path / "out", limits, dev="dev")
    skips = read_skipped(tmp_path / "out" / "train" / "skipped.tsv")
    assert {skip.id: skip.reason for skip in skips} == {"a": "too short", "c": "too much text", "d": "too little text"}
    assert all(skip.detail.startswith(f"{root}/train.tsv:") for skip in skips)
    assert not read_skipped(tmp_path / "out" / "dev" / "skipped.tsv")


@pytest.mark.parametrize("options", [{"shortest": -1}, {"shortest": 2, "longest": 1}, {"most_characters": 0}])
def test_contradictory_limits_are_an_error(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"limits\.\w+=-?\d"):
        Limits(**options)


def test_files_of_the_same_name_are_different_recordings(tmp_path: Path) -> None:
    for place, seconds in (("x", 2.0), ("y", 5.0)):
        write_tone(tmp_path / "mine" / place / "a.wav", seconds)
    rows = "id\taudio\ttext\tspeaker\tstart\tend\n1\tx/a.wav\tHi\tme\t0\t1\n2\ty/a.wav\tHo\tme\t3\t4\n"
    (tmp_path / "mine" / "train.tsv").write_text(rows)
    prepare(tmp_path / "mine", "folder", tmp_path / "out")
    compute_features(FeatureConfig(), tmp_path / "out" / "train", tmp_path / "features" / "train")
    sources = {cut.id: cut.recording.sources[0].source for cut in read_cuts(tmp_path / "out" / "train")}
    assert sources == {id: str(tmp_path / "mine" / place / "a.wav") for id, place in (("1", "x"), ("2", "y"))}


def test_manifests_round_trip(tmp_path: Path) -> None:
    prepare(manifests_of(tmp_path), "manifests", tmp_path / "again")
    for name, kind in (("recordings", RecordingSet), ("supervisions", SupervisionSet)):
        made, again = (kind.from_file(tmp_path / out / "train" / f"{name}.jsonl.gz") for out in ("made", "again"))
        same = [[item.to_dict() | {"custom": None} for item in items] for items in (made, again)]
        assert same[0] == same[1]


def test_cuts_are_accepted_as_manifests(tmp_path: Path) -> None:
    kaldi_directory(tmp_path / "kaldi")
    prepare(tmp_path / "kaldi", "kaldi", tmp_path / "made")
    cuts = read_cuts(tmp_path / "made" / "train")
    (tmp_path / "lhotse" / "train").mkdir(parents=True)
    cuts.to_file(tmp_path / "lhotse" / "train" / "cuts.jsonl.gz")
    prepare(tmp_path / "lhotse", "manifests", tmp_path / "again")
    again = read_cuts(tmp_path / "again" / "train")
    assert [(c.id, c.start, c.duration, c.recording_id) for c in again] == [
        (c.id, c.start, c.duration, c.recording_id) for c in cuts
    ]


def test_manifest_problems(tmp_path: Path) -> None:
    root = manifests_of(tmp_path)
    supervisions = root / "my_supervisions_train.jsonl"
    lines = supervisions.read_text().splitlines()
    broken = [lines[0].replace("rec-a", "rec-z"), lines[1][:40], lines[2].replace('"channel": 0', '"channel": 1')]
    supervisions.write_text("\n".join(broken))
    found = problems("manifests", root)
    assert found[0].startswith(f"{supervisions}:2: not a SupervisionSegment of Lhotse (")
    assert found[1].startswith(f"{supervisions}:1: me-1 has no recording rec-z; add it")
    assert found[2].startswith(f"{supervisions}:3: recording rec-b has no channel 1; correct the channel")
    assert len(found) == 3
    with pytest.raises(FileNotFoundError, match="no Lhotse manifests; there should be"):
        problems("manifests", tmp_path / "kaldi")


def test_cuts_of_all_kinds(tmp_path: Path) -> None:
    """Each kind of cut that cannot be used is listed with its reason and remedy; the others are read."""
    write_tone(tmp_path / "audio" / "a.wav", 2.0)
    stereo = np.random.default_rng(0).normal(scale=(0.1, 0.2), size=(16000, 2))
    soundfile.write(tmp_path / "audio" / "s.wav", stereo, 16000)
    plain, both = (Recording.from_file(tmp_path / "audio" / name).to_cut() for name in ("a.wav", "s.wav"))

    def spoken(cut: Cut, id: str, channel: int = 0) -> Cut:
        segment = SupervisionSegment(id, cut.recording_id, 0.0, 1.0, channel=channel, text="HELLO", speaker=id)
        return fastcopy(cut, id=id, supervisions=[segment])

    right = fastcopy(spoken(both, "right", 0).to_mono()[1], id="right")
    relative = fastcopy(plain.recording, sources=[AudioSource("file", [0], "audio/a.wav")])
    made = [
        spoken(plain, "plain"),
        fastcopy(spoken(plain, "relative"), recording=relative),
        spoken(both, "multi", 1),
        fastcopy(right, supervisions=spoken(plain, "right").supervisions),
        spoken(plain, "resampled").resample(8000),
        spoken(plain, "mixed").pad(3.0),
        fastcopy(spoken(plain, "features"), recording=None),
        fastcopy(plain, id="silent"),
    ]
    (tmp_path / "corpus" / "train").mkdir(parents=True)
    CutSet.from_cuts(made).to_file(tmp_path / "corpus" / "train" / "cuts.jsonl.gz")
    prepare(tmp_path / "corpus", "manifests", tmp_path / "out")
    found = {
        item.id: (item.channel, item.recording_id) for item in read_cuts(tmp_path / "out" / "train").decompose()[1]
    }
    assert found == {"plain": (0, "a"), "relative": (0, "a"), "multi": (1, "s"), "right": (1, "s")}
    listed = {
        skip.id: skip.detail.split(": ", 1)[1] for skip in read_skipped(tmp_path / "out" / "train" / "skipped.tsv")
    }
    assert set(listed) == {"resampled", "mixed", "features", "silent"}
    assert "is changed when it is read (Resample); save their audio" in listed["resampled"]
    assert "MixedCut" in listed["mixed"] and "save_audios" in listed["mixed"]
    assert listed["features"] == "cut features has no recording, only features; give the cuts with their recordings"
    assert listed["silent"] == "cut silent has no supervision; add one"


def test_missing_audio_is_reported_before_the_missing_dev_part(tmp_path: Path) -> None:
    """Without audio there are no utterances, and so no speakers for a dev part."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.tsv").write_text("audio\ttext\tspeaker\nnone.wav\tHi\tme\n")
    config = CorpusConfig("folder", str(tmp_path / "mine"))
    with pytest.raises(UserError, match=r"no usable utterance, 1 skipped: \{'missing audio': 1\}, e\.g\. .*none\.wav"):
        prepare_corpus(config, tmp_path, tmp_path / "out")


def test_long_utterances_are_left_out_of_training_by_default(tmp_path: Path) -> None:
    root = folder_of_audio(tmp_path / "mine")
    soundfile.write(root / "long.wav", np.random.default_rng(0).normal(scale=0.1, size=41 * 8000), 8000)
    with (root / "train.tsv").open("a") as table:
        table.write("long.wav\tHi\tme\t\t\n")
    (root / "dev.tsv").write_text((root / "train.tsv").read_text())
    prepare(root, "folder", tmp_path / "out", dev="dev")
    (skip,) = read_skipped(tmp_path / "out" / "train" / "skipped.tsv")
    assert skip.detail.startswith(f"{root}/train.tsv:4: 41.00 s, more than corpus.limits.longest=40")
    assert not read_skipped(tmp_path / "out" / "dev" / "skipped.tsv")


def test_two_manifests_of_one_kind_are_an_error(tmp_path: Path) -> None:
    root = manifests_of(tmp_path)
    (root / "your_recordings_train.jsonl").write_text("")
    with pytest.raises(UserError, match=r"your_recordings_train\.jsonl: part train already has recordings: .*/my_rec"):
        problems("manifests", root)


def test_kaldi_round_trip(tmp_path: Path) -> None:
    folder = kaldi_directory(tmp_path / "kaldi")
    prepare(folder, "kaldi", tmp_path / "made")
    assert write_kaldi(tmp_path / "made" / "train", tmp_path / "out" / "train") == 3
    for name in ("wav.scp", "segments", "text", "utt2spk"):
        assert (tmp_path / "out" / "train" / name).read_text() == (folder / name).read_text()
    assert (tmp_path / "out" / "train" / "spk2utt").read_text() == "me me-1 me-2\nyou you-1\n"
    assert problems("kaldi", tmp_path / "out") == []


def test_exported_flac_pipe_is_read_again(manifests: Path, tmp_path: Path) -> None:
    write_kaldi(manifests / PART, tmp_path / "train")
    assert (tmp_path / "train" / "wav.scp").read_text().splitlines()[0].endswith(".flac |")
    prepare(tmp_path, "kaldi", tmp_path / "again")
    texts = {cut.id: cut.supervisions[0].text for cut in read_cuts(tmp_path / "again" / "train")}
    assert texts == {cut.id: cut.supervisions[0].text for cut in read_cuts(manifests / PART)}


def test_spaces_in_paths_are_quoted_and_in_names_are_an_error(tmp_path: Path) -> None:
    for name in ("my a.flac", "my b.ogg", "my c.wav"):
        write_tone(tmp_path / "mine" / name, 1.0)
    rows = "audio\ttext\tspeaker\nmy a.flac\tHi\tann e\nmy b.ogg\tHo\tbo b\nmy c.wav\tHu\tca l\n"
    (tmp_path / "mine" / "train.tsv").write_text(rows)
    prepare(tmp_path / "mine", "folder", tmp_path / "made")
    made = read_cuts(tmp_path / "made" / "train")
    assert [(cut.id, cut.supervisions[0].speaker) for cut in made] == [
        ("my_a", "ann_e"), ("my_b", "bo_b"), ("my_c", "ca_l"),
    ]  # fmt: skip
    write_kaldi(tmp_path / "made" / "train", tmp_path / "out")
    flac, ogg, wav = (tmp_path / "out" / "wav.scp").read_text().splitlines()
    mine = tmp_path / "mine"
    assert shlex.split(flac) == ["my_a", "flac", "-c", "-d", "-s", f"{mine}/my a.flac", "|"]
    assert shlex.split(ogg)[:6] == ["my_b", "ffmpeg", "-threads", "1", "-i", f"{mine}/my b.ogg"]
    assert wav == f"my_c {mine}/my c.wav", "Kaldi reads a file name to the end of the line"
    for problem in problems("kaldi", tmp_path / "out"):
        assert "my_b" in problem or "my b.ogg" in problem, "only the ffmpeg pipe is not accepted"
    supervisions = tmp_path / "made" / "train" / "supervisions.jsonl.gz"
    text = gzip.decompress(supervisions.read_bytes()).decode().replace("ann_e", "ann e")
    supervisions.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(UserError, match=r"supervisions\.jsonl\.gz: 'ann e' is not a name in Kaldi; replace"):
        write_kaldi(tmp_path / "made" / "train", tmp_path / "again")


def test_speakers_in_another_order_than_utterances_are_an_error(tmp_path: Path) -> None:
    folder = kaldi_directory(tmp_path / "kaldi")
    (folder / "utt2spk").write_text("me-1 me\nme-2 anna\nyou-1 you\n")
    prepare(folder, "kaldi", tmp_path / "made")
    with pytest.raises(UserError, match="begin the id of every utterance with its speaker's"):
        write_kaldi(tmp_path / "made" / "train", tmp_path / "out")


CORPORA = {
    "kaldi": (kaldi_directory, ["wav.scp", "text", "segments", "utt2spk", "a.wav"]),
    "folder": (folder_of_audio, ["train.tsv", "b.wav"]),
    "manifests": (manifests_of, ["my_recordings_train.jsonl", "my_supervisions_train.jsonl"]),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {recipe: make(tmp_path_factory.mktemp(recipe)) for recipe, (make, _) in CORPORA.items()}


ODD = [b"\xff\xfe", b"\0", b"\t", b" ", b"\n", b"\xc2\x85", b'"', b"{}", b"|", b"/" * 5000, b"x" * 5000]
ODD += [b"9" * 400, b"nan", b"-1", b"1e999"]


def broken(content: bytes, kind: str, seed: int) -> bytes:
    """Return a file's content with one change."""
    draw = random.Random(seed)
    at, to = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    lines = content.splitlines(keepends=True)
    line = draw.randrange(len(lines))
    return {
        "cut": content[:at],
        "hole": content[:at] + content[to:],
        "odd": content[:at] + draw.choice(ODD) + content[at:],
        "noise": content[:at] + draw.randbytes(to - at) + content[to:],
        "twice": b"".join([*lines[: line + 1], *lines[line:]]),
        "lost": b"".join(lines[:line] + lines[line + 1 :]),
        "utf-16": content.decode("latin1").encode("utf-16"),
        "mixed": b" ".join(draw.sample(content.split(b" "), content.count(b" ") + 1)),
        "packed": gzip.compress(content)[:at],
    }[kind]


@settings(max_examples=150)
@given(
    recipe=st.sampled_from(sorted(CORPORA)),
    kind=st.sampled_from(["cut", "hole", "odd", "noise", "twice", "lost", "utf-16", "mixed", "packed"]),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_malformed_input_is_named_or_harmless(
    whole: dict[str, Path],
    tmp_path: Path,
    recipe: str,
    kind: str,
    seed: int,
    data: st.DataObject,
) -> None:
    """Preparation succeeds, or the message names a file of the corpus; validation always completes."""
    root = whole[recipe]
    path = root / data.draw(st.sampled_from(CORPORA[recipe][1]))
    content = path.read_bytes()
    path.write_bytes(broken(content, kind, seed))
    try:
        found = problems(recipe, root)
        try:
            prepare(root, recipe, tmp_path)
        except (UserError, FileNotFoundError) as error:
            assert str(root) in str(error) or "part train: no usable utterance" in str(error)
            assert found
        else:
            listed = read_skipped(tmp_path / "train" / "skipped.tsv")
            assert len(found) >= len(listed)
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("folder", sorted(path.name for path in BAD_FILES.iterdir()))
def test_collection_of_malformed_corpora(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each folder has a corpus and, in `problems`, the beginnings of all messages."""
    monkeypatch.chdir(BAD_FILES / folder)
    expected = Path("problems").read_text().splitlines()
    found = problems(folder.split("-")[0], Path())
    for beginning in expected:
        assert any(problem.startswith(beginning) for problem in found), (beginning, found)
    assert len(found) == len(expected)

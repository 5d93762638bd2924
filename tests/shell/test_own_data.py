"""Experiments on the user's own data: Kaldi data directory, folder with a table, corpus with errors."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from augmem.skipped import read_skipped
from tests.shell.experiments import PART, SPEECH, fixture_options, run_here


def utterances() -> list[dict[str, str]]:
    with (SPEECH / "manifest.tsv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def kaldi_directory(root: Path) -> Path:
    """Write the utterances of the fixture as a Kaldi data directory, root/mine."""
    folder = root / "mine"
    folder.mkdir(parents=True)
    files = {"wav.scp": "{0} {1}/flac/{0}.flac", "text": "{0} {3}", "utt2spk": "{0} {2}"}
    for name, form in files.items():
        lines = [form.format(u["id"], SPEECH, u["speaker"], u["text"]) for u in utterances()]
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return root


def folder_with_table(root: Path) -> Path:
    """Write the utterances of the fixture as a table, root/mine.tsv."""
    root.mkdir(parents=True)
    lines = [f"{SPEECH}/flac/{u['id']}.flac\t{u['text']}\t{u['speaker']}\t{u['id']}" for u in utterances()]
    (root / "mine.tsv").write_text("audio\ttext\tspeaker\tid\n" + "".join(f"{line}\n" for line in lines))
    return root


@pytest.mark.parametrize(("recipe", "write"), [("kaldi", kaldi_directory), ("folder", folder_with_table)])
def test_speakers_are_held_out_without_dev_and_test_parts(
    recipe: str, write: Callable[[Path], Path], tmp_path: Path
) -> None:
    """The table shows the part of the held-out speakers."""
    corpus = write(tmp_path / "corpus")
    place = ["--data", tmp_path / "data", "--exp", tmp_path / "exp", "--config", "conf/fixture.yaml", "--train", "mine"]
    result = run_here("--corpus", recipe, "--corpus-dir", corpus, *place, "--dry-run")
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    assert "no dev part: tuning on speakers" in result.stdout
    rows = json.loads((tmp_path / "exp-dry" / "score" / "summary.json").read_text())["scores"]
    assert {row["part"] for row in rows} == {"dev-split"} and rows[0]["utterances"] > 0


def test_errors_of_a_corpus_are_skipped_and_reported(tmp_path: Path) -> None:
    """Skipped utterances are counted, listed with their reasons and shown in the report."""
    options = fixture_options(tmp_path)
    chapters = sorted((tmp_path / "LibriSpeech" / PART).glob("*/*/*.trans.txt"))
    transcript = max(chapters, key=lambda path: len(path.read_text().splitlines()))
    lines = transcript.read_text().splitlines()
    ids = [line.split()[0] for line in lines]
    audio = {name: transcript.parent / f"{name}.flac" for name in ids}
    missing, truncated, untold, silent, hurried, slow, unknown = ids[:7]
    audio[missing].unlink()
    audio[truncated].write_bytes(audio[truncated].read_bytes()[:5000])
    samples, rate = soundfile.read(audio[hurried])
    soundfile.write(audio[hurried], samples[:1600], rate)
    samples, rate = soundfile.read(audio[slow])
    soundfile.write(audio[slow], samples[::2], rate // 2)
    by_id = dict(zip(ids, lines, strict=True)) | {silent: silent, unknown: f"{unknown} THE QXZW SAID"}
    del by_id[untold]
    transcript.write_text("".join(f"{line}\n" for line in by_id.values()))

    result = run_here(*options, "--training.epochs", "1", "--lang.g2p", "none")
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    folders = [tmp_path / "data" / "manifests" / PART, *(tmp_path / "data" / "features").glob(f"*/{PART}")]
    lists = [*folders, tmp_path / "exp" / "train"]
    skipped = {item.id: item for folder in lists for item in read_skipped(folder / "skipped.tsv")}
    assert set(skipped) == {missing, truncated, untold, silent, hurried}
    page = (tmp_path / "exp" / "report" / "report.html").read_text()
    for name, item in skipped.items():
        assert item.reason and name in page
    assert "have less than 16000 Hz" in result.stdout
    assert "have no pronunciation and are read as <UNK>" in result.stdout
    assert "QXZW\t\tleft out: read as <UNK>" in (tmp_path / "exp" / "lang" / "g2p_words.txt").read_text().splitlines()
    row = json.loads((tmp_path / "exp" / "score" / "summary.json").read_text())["scores"][0]
    assert row["utterances"] == 29 - 4


def test_text_in_another_encoding_stops_the_run_and_keeps_results(tmp_path: Path) -> None:
    options = fixture_options(tmp_path)
    transcript = next((tmp_path / "LibriSpeech" / PART).glob("*/*/*.trans.txt"))
    whole = transcript.read_bytes()
    transcript.write_bytes(whole + b"61-1-0009 CAF\xc9\n")
    result = run_here(*options, "--stop-stage", "corpus")
    assert result.returncode != 0 and "Traceback" not in result.stderr
    assert transcript.name in result.stderr and "UTF-8" in result.stderr
    transcript.write_bytes(whole)
    assert run_here(*options, "--stop-stage", "corpus").returncode == 0

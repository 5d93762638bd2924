"""Training parts of another corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from augmem.corpus import CorpusConfig, prepare_corpus, read_parts
from augmem.corpus.manifests import read_cuts
from augmem.errors import UserError
from tests.corpus.corpora import write_tone


def folder_corpus(root: Path, *parts: str, number: int = 4) -> Path:
    """Write a corpus of tones; its utterances are named after the folder."""
    for part in parts:
        rows = ["audio\ttext\tspeaker"]
        for i in range(number):
            write_tone(root / f"{root.name}-{part}-{i}.wav", 1.0)
            rows.append(f"{root.name}-{part}-{i}.wav\ta word\t{root.name}-{part}")
        (root / f"{part}.tsv").write_text("\n".join(rows) + "\n")
    return root


def prepare(root: Path, data: Path, **options: object) -> None:
    (data / "manifests").mkdir(parents=True)
    config = CorpusConfig("folder", str(root), **options)  # type: ignore[arg-type]
    prepare_corpus(config, data / "download", data / "manifests")


def test_training_parts_of_a_prepared_corpus_are_added(tmp_path: Path) -> None:
    prepare(folder_corpus(tmp_path / "old", "before", "dev"), tmp_path / "data_old", train=("before",))
    own = folder_corpus(tmp_path / "own", "train", "dev")
    prepare(own, tmp_path / "data", mix=str(tmp_path / "data_old"))
    parts = read_parts(tmp_path / "data" / "manifests")
    assert parts.train == ("train", "before") and parts.dev == ("dev",)
    whole = {cut.id for cut in read_cuts(tmp_path / "data" / "manifests" / "before")}
    assert whole == {f"old-before-{i}" for i in range(4)}
    prepare(own, tmp_path / "some", mix=str(tmp_path / "data_old"), mix_utterances=2)
    some = {cut.id for cut in read_cuts(tmp_path / "some" / "manifests" / "before")}
    assert len(some) == 2 and some < whole
    with pytest.raises(UserError, match=r"both corpora have a part train; rename"):
        prepare(own, tmp_path / "same", mix=str(tmp_path / "data"))


def test_invalid_options_are_refused(tmp_path: Path) -> None:
    own = folder_corpus(tmp_path / "own", "train", "dev")
    with pytest.raises(FileNotFoundError, match=r"parts\.json: no such file; run stage corpus"):
        prepare(own, tmp_path / "data", mix=str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"corpus\.mix_utterances is 0; it must be at least 1, with corpus\.mix"):
        CorpusConfig(mix="data", mix_utterances=0)
    with pytest.raises(UserError, match=r"corpus\.mix_utterances is 5; it must be at least 1, with corpus\.mix"):
        CorpusConfig(mix_utterances=5)

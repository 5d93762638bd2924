"""Features of utterances in decoding."""

from __future__ import annotations

from pathlib import Path

from augmem.corpus import CorpusConfig, compute_features, load_cuts, prepare_corpus
from augmem.decoding import UtteranceKey
from augmem.features import FeatureConfig
from augmem.model_acoustics import ModelAcoustics
from tests.corpus.corpora import write_tone


def test_parts_that_share_an_id_are_not_confused(tmp_path: Path) -> None:
    for part, seconds in (("train", 1.0), ("dev", 1.0), ("test", 2.0)):
        write_tone(tmp_path / "mine" / part / "a.wav", seconds)
        (tmp_path / "mine" / f"{part}.tsv").write_text(f"audio\ttext\tspeaker\tid\n{part}/a.wav\tHi {part}\tme\t0001\n")
    prepare_corpus(CorpusConfig("folder", str(tmp_path / "mine")), tmp_path / "download", tmp_path / "manifests")
    for part in ("dev", "test"):
        compute_features(FeatureConfig(), tmp_path / "manifests" / part, tmp_path / "features" / part)
    acoustics = ModelAcoustics(Path(), Path(), tmp_path / "features", ["dev", "test"])
    acoustics.network = lambda features, lengths: (features, lengths)  # type: ignore[assignment]
    for part, frames in (("dev", 100), ("test", 200)):
        (cut,) = load_cuts(tmp_path / "features", [part])
        assert acoustics([UtteranceKey(part, cut.id)])[1].tolist() == [frames]

"""Real speech, prepared once for all tests of the room."""

from __future__ import annotations

from pathlib import Path

import pytest

from augmem.corpus import CorpusConfig, compute_features, prepare_corpus
from augmem.corpus.fixture import PART, build_librispeech_tree
from augmem.features import FeatureConfig
from tests.corpus.corpora import FIXTURE


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 29 utterances, laid out as LibriSpeech."""
    return build_librispeech_tree(FIXTURE, tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="session")
def manifests(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their manifests, in one part that serves for everything."""
    folder = tmp_path_factory.mktemp("manifests")
    prepare_corpus(CorpusConfig("librispeech", str(tree), dev=(PART,)), folder / "download", folder)
    return folder


@pytest.fixture(scope="session")
def features(manifests: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their features."""
    folder = tmp_path_factory.mktemp("features")
    compute_features(FeatureConfig(), manifests / PART, folder / PART)
    return folder

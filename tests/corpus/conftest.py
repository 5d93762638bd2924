"""Real speech, prepared once for all tests of augmem.corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from augmem.corpus import CorpusConfig, compute_features, prepare_corpus
from augmem.features import FeatureConfig
from tests.corpus.corpora import FIXTURE, PART, build_carried_corpus, build_librispeech_tree, build_mini_librispeech


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 29 utterances, laid out as LibriSpeech."""
    return build_librispeech_tree(FIXTURE, tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="session")
def manifests(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their manifests, in one part that serves as train and dev."""
    folder = tmp_path_factory.mktemp("manifests")
    prepare_corpus(CorpusConfig("librispeech", str(tree), dev=(PART,), allow_overlap=True), folder / "download", folder)
    return folder


@pytest.fixture(scope="session")
def features(manifests: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their features."""
    folder = tmp_path_factory.mktemp("features")
    compute_features(FeatureConfig(), manifests / PART, folder / PART)
    return folder


@pytest.fixture(scope="session")
def mini_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 29 utterances as train-clean-5, dev-held and test-held."""
    return build_mini_librispeech(tmp_path_factory.mktemp("mini"))


@pytest.fixture(scope="session")
def carried(mini_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their compact copy, as in corpora/mini_librispeech."""
    return build_carried_corpus(mini_tree, tmp_path_factory.mktemp("carried"))

"""Speech data: Lhotse manifests of corpora, features, batches for training and evaluation.

Errors in a corpus are reported with file, line and remedy. Unusable utterances are skipped, counted and listed in
skipped.tsv. Batches are a pure function of cuts and configuration, so that training resumes exactly.
"""

from augmem.corpus.augmentation import NoiseConfig, ReverbConfig
from augmem.corpus.batches import (
    Batch,
    BatchConfig,
    SpecAugmentConfig,
    evaluation_batches,
    num_batches,
    training_batches,
)
from augmem.corpus.compact import compact_corpus
from augmem.corpus.extractors import extract_batch, extractor
from augmem.corpus.feature_store import (
    compute_features,
    feature_statistics,
    features_of_file,
    load_cuts,
    normalised_texts,
    stored_features,
    transcripts,
)
from augmem.corpus.kaldi import write_kaldi
from augmem.corpus.librispeech import warn_of_openslr_11
from augmem.corpus.limits import Limits
from augmem.corpus.manifests import recording_place
from augmem.corpus.mixing import read_parts
from augmem.corpus.prepare import CorpusConfig, prepare_corpus
from augmem.corpus.reader import Parts
from augmem.corpus.sessions import find_session, group_sessions
from augmem.corpus.storage import StorageConfig, write_features
from augmem.corpus.texts import find_texts
from augmem.corpus.validation import validate_corpus

__all__ = [
    "Batch",
    "BatchConfig",
    "CorpusConfig",
    "Limits",
    "NoiseConfig",
    "Parts",
    "ReverbConfig",
    "SpecAugmentConfig",
    "StorageConfig",
    "compact_corpus",
    "compute_features",
    "evaluation_batches",
    "extract_batch",
    "extractor",
    "feature_statistics",
    "features_of_file",
    "find_session",
    "find_texts",
    "group_sessions",
    "load_cuts",
    "normalised_texts",
    "num_batches",
    "prepare_corpus",
    "read_parts",
    "recording_place",
    "stored_features",
    "training_batches",
    "transcripts",
    "validate_corpus",
    "warn_of_openslr_11",
    "write_features",
    "write_kaldi",
]

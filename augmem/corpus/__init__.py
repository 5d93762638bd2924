"""Speech as data: corpora become Lhotse manifests, manifests become features, features become batches.

Whatever is wrong with what a user brings is said with file, line and remedy; what must be left out is
counted, and listed in a skipped.tsv. Batches are a pure function of their configuration, so that training can
resume exactly.
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
from augmem.corpus.features import (
    compute_features,
    extractor,
    feature_statistics,
    features_of_file,
    load_cuts,
    normalised_texts,
    stored_features,
    transcripts,
)
from augmem.corpus.kaldi import write_kaldi
from augmem.corpus.limits import Limits
from augmem.corpus.prepare import CorpusConfig, prepare_corpus, read_parts
from augmem.corpus.sessions import session_of, sessions
from augmem.corpus.skips import SKIPPED, Skip, SkipList
from augmem.corpus.source import Parts
from augmem.corpus.storage import StorageConfig
from augmem.corpus.texts import find_texts
from augmem.corpus.validation import validate_corpus

__all__ = [
    "SKIPPED",
    "Batch",
    "BatchConfig",
    "CorpusConfig",
    "Limits",
    "NoiseConfig",
    "Parts",
    "ReverbConfig",
    "Skip",
    "SkipList",
    "SpecAugmentConfig",
    "StorageConfig",
    "compute_features",
    "evaluation_batches",
    "extractor",
    "feature_statistics",
    "features_of_file",
    "find_texts",
    "load_cuts",
    "normalised_texts",
    "num_batches",
    "prepare_corpus",
    "read_parts",
    "session_of",
    "sessions",
    "stored_features",
    "training_batches",
    "transcripts",
    "validate_corpus",
    "write_kaldi",
]

"""Decoding: acoustic scores and a decoding graph to words with times and confidences.

`decode` makes n-best lists of whole parts, `tune` chooses the scales of each system on dev, and `transcribe_part`
applies them. `find_lattices` and `OnlineSearch` are the first pass, offline and in streams. A lattice is a plain array
type (`Lattice`); k2 is used only to make lattices.
"""

from augmem.decoding.alignment import Aligner, Alignment, TimedSymbol
from augmem.decoding.config import DecodingConfig, SearchConfig
from augmem.decoding.hotwords import BONUS, HotwordLine, Hotwords, make_hotwords, read_hotwords
from augmem.decoding.lattice import (
    Ints,
    Lattice,
    arc_posteriors,
    backward_best,
    best_path,
    forward_best,
    words_on,
)
from augmem.decoding.lattice_posteriors import path_confidences, posteriors, word_confidences
from augmem.decoding.nbest import WordSequence, best_word_sequences
from augmem.decoding.offline import SUMMARY_FILE, decode
from augmem.decoding.online import GrowingLattice, OnlineSearch, StreamSearch
from augmem.decoding.oracle import lattice_oracle_errors
from augmem.decoding.records import (
    FIRST_PASS,
    RESCORED,
    Hypothesis,
    NbestEntry,
    UtteranceKey,
    read_nbest,
    write_nbest,
)
from augmem.decoding.search import DecodingGraph, LatticeResult, Search, find_lattices
from augmem.decoding.systems import (
    MBR,
    TUNED_FILE,
    Scales,
    System,
    Transcript,
    choose,
    first_pass_score,
    load_systems,
    transcribe_part,
)
from augmem.decoding.times import WordFrames, spoken_frames, word_frames
from augmem.decoding.tuning import oracle_wer, tune
from augmem.decoding.worker import Acoustics, DecodingFiles

__all__ = [
    "BONUS",
    "FIRST_PASS",
    "MBR",
    "RESCORED",
    "SUMMARY_FILE",
    "TUNED_FILE",
    "Acoustics",
    "Aligner",
    "Alignment",
    "DecodingConfig",
    "DecodingFiles",
    "DecodingGraph",
    "GrowingLattice",
    "HotwordLine",
    "Hotwords",
    "Hypothesis",
    "Ints",
    "Lattice",
    "LatticeResult",
    "NbestEntry",
    "OnlineSearch",
    "Scales",
    "Search",
    "SearchConfig",
    "StreamSearch",
    "System",
    "TimedSymbol",
    "Transcript",
    "UtteranceKey",
    "WordFrames",
    "WordSequence",
    "arc_posteriors",
    "backward_best",
    "best_path",
    "best_word_sequences",
    "choose",
    "decode",
    "find_lattices",
    "first_pass_score",
    "forward_best",
    "lattice_oracle_errors",
    "load_systems",
    "make_hotwords",
    "oracle_wer",
    "path_confidences",
    "posteriors",
    "read_hotwords",
    "read_nbest",
    "spoken_frames",
    "transcribe_part",
    "tune",
    "word_confidences",
    "word_frames",
    "words_on",
    "write_nbest",
]

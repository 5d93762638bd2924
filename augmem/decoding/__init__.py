"""Decoding: acoustic scores and a decoding graph to words with times and confidences.

`decode_parts` makes n-best lists of whole parts, `tune` chooses the scales of each system on dev, and
`read_system_outputs` applies them. `find_lattices` is the first pass of utterances, and `BeamSearch` that of streams.
A lattice is a plain array type (`Lattice`).
"""

from augmem.decoding.alignment import Aligner, Alignment, TimedSymbol
from augmem.decoding.beam_search import BeamSearch, SearchState
from augmem.decoding.config import DecodingConfig, SearchConfig
from augmem.decoding.hotwords import BONUS, Hotwords, make_hotwords, read_hotwords
from augmem.decoding.lattice import Ints, Lattice, arc_posteriors, best_path, path_word_ids
from augmem.decoding.lattice_posteriors import posteriors, word_confidences
from augmem.decoding.nbest import WordSequence, best_word_sequences
from augmem.decoding.offline import SUMMARY_FILE, consecutive_batches, decode_parts
from augmem.decoding.online import BestPath, count_stable_words, current_best_path, lattice_best_path
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
    SystemOutput,
    choose_hypothesis,
    first_pass_score,
    load_systems,
    read_system_outputs,
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
    "BeamSearch",
    "BestPath",
    "DecodingConfig",
    "DecodingFiles",
    "DecodingGraph",
    "Hotwords",
    "Hypothesis",
    "Ints",
    "Lattice",
    "LatticeResult",
    "NbestEntry",
    "Scales",
    "Search",
    "SearchConfig",
    "SearchState",
    "System",
    "SystemOutput",
    "TimedSymbol",
    "UtteranceKey",
    "WordFrames",
    "WordSequence",
    "arc_posteriors",
    "best_path",
    "best_word_sequences",
    "choose_hypothesis",
    "consecutive_batches",
    "count_stable_words",
    "current_best_path",
    "decode_parts",
    "find_lattices",
    "first_pass_score",
    "lattice_best_path",
    "lattice_oracle_errors",
    "load_systems",
    "make_hotwords",
    "oracle_wer",
    "path_word_ids",
    "posteriors",
    "read_hotwords",
    "read_nbest",
    "read_system_outputs",
    "spoken_frames",
    "tune",
    "word_confidences",
    "word_frames",
    "write_nbest",
]

"""Decoding: from the model's scores and a decoding graph to words, how sure they are, and when they came.

`decode` makes n-best lists of whole parts, `tune` chooses the scales on dev, `hypotheses` applies them.
A lattice is a plain array type (`Lattice`); k2 appears only where lattices are made.
"""

from augmem.decoding.alignment import Aligner, Alignment, Timed
from augmem.decoding.config import DecodingConfig, SearchConfig
from augmem.decoding.lattice import Lattice, arc_posteriors, best_path, words_on
from augmem.decoding.nbest import best_word_sequences
from augmem.decoding.offline import SUMMARY_FILE, Acoustics, decode
from augmem.decoding.records import FIRST_PASS, RESCORED, Hypothesis, NbestEntry, Utterance, read_nbest, write_nbest
from augmem.decoding.search import DecodingGraph, Found, Search, find_lattices
from augmem.decoding.tuning import MBR, TUNED_FILE, Answer, Scales, first_pass_score, hypotheses, load_scales, tune

__all__ = [
    "FIRST_PASS",
    "MBR",
    "RESCORED",
    "SUMMARY_FILE",
    "TUNED_FILE",
    "Acoustics",
    "Aligner",
    "Alignment",
    "Answer",
    "DecodingConfig",
    "DecodingGraph",
    "Found",
    "Hypothesis",
    "Lattice",
    "NbestEntry",
    "Scales",
    "Search",
    "SearchConfig",
    "Timed",
    "Utterance",
    "arc_posteriors",
    "best_path",
    "best_word_sequences",
    "decode",
    "find_lattices",
    "first_pass_score",
    "hypotheses",
    "load_scales",
    "read_nbest",
    "tune",
    "words_on",
    "write_nbest",
]

"""Scoring: how many words were right, how sure that figure is, and whether one system beats another.

`score_all` scores every system on every part and writes the files, `compare` tests two systems against
each other and `write_report` makes the experiment's page. Inputs are plain data and paths to JSON files:
this room knows no other.
"""

from augmem.scoring.alignment import Counts, Utterance, align, as_characters, readable
from augmem.scoring.attention import group_shares, plot_attention, plot_heads
from augmem.scoring.comparison import Comparison, compare, comparison_text
from augmem.scoring.environment import provenance
from augmem.scoring.icefall import read_recogs, write_errs, write_recogs
from augmem.scoring.intervals import Interval, wer_interval
from augmem.scoring.nist import TimedWord, read_ctm, write_ctm, write_kaldi_text, write_trn
from augmem.scoring.report import Picture, ReportInputs, Skipped, write_report
from augmem.scoring.score import Score, score, score_all, wer_table
from augmem.scoring.textgrid import write_textgrid

__all__ = [
    "Comparison",
    "Counts",
    "Interval",
    "Picture",
    "ReportInputs",
    "Score",
    "Skipped",
    "TimedWord",
    "Utterance",
    "align",
    "as_characters",
    "compare",
    "comparison_text",
    "group_shares",
    "plot_attention",
    "plot_heads",
    "provenance",
    "read_ctm",
    "read_recogs",
    "readable",
    "score",
    "score_all",
    "wer_interval",
    "wer_table",
    "write_ctm",
    "write_errs",
    "write_kaldi_text",
    "write_recogs",
    "write_report",
    "write_textgrid",
    "write_trn",
]

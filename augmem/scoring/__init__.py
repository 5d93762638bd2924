"""Scoring: word error rates with confidence intervals, significance tests and the HTML report.

`score_all` scores all systems on all parts and writes the files, `compare` tests whether two systems differ, and
`write_report` writes the report of an experiment. Inputs are plain data and paths of JSON files; this package imports
neither the recipe nor the decoder.
"""

from augmem.scoring.alignment import Counts, Utterance, WordPair, align, as_characters, format_alignment
from augmem.scoring.alternatives import align_words
from augmem.scoring.attention import group_shares, plot_attention, plot_heads
from augmem.scoring.comparison import Comparison, compare, comparison_text
from augmem.scoring.environment import provenance
from augmem.scoring.icefall import read_recogs, write_errs, write_recogs
from augmem.scoring.intervals import Interval, wer_interval
from augmem.scoring.nist import TimedWord, write_ctm, write_kaldi_text, write_trn
from augmem.scoring.report import Picture, ReportInputs, Skipped, write_report
from augmem.scoring.score import Score, score_all, score_system, wer_table, write_score
from augmem.scoring.tables import percent, text_table
from augmem.scoring.textgrid import write_textgrid
from augmem.scoring.transcripts import Transcript, read_transcript
from augmem.scoring.word_errors import WordErrors

__all__ = [
    "Comparison",
    "Counts",
    "Interval",
    "Picture",
    "ReportInputs",
    "Score",
    "Skipped",
    "TimedWord",
    "Transcript",
    "Utterance",
    "WordErrors",
    "WordPair",
    "align",
    "align_words",
    "as_characters",
    "compare",
    "comparison_text",
    "format_alignment",
    "group_shares",
    "percent",
    "plot_attention",
    "plot_heads",
    "provenance",
    "read_recogs",
    "read_transcript",
    "score_all",
    "score_system",
    "text_table",
    "wer_interval",
    "wer_table",
    "write_ctm",
    "write_errs",
    "write_kaldi_text",
    "write_recogs",
    "write_report",
    "write_score",
    "write_textgrid",
    "write_trn",
]

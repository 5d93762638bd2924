"""Connectionist temporal classification, over all pronunciations and optional silences of a transcript."""

from __future__ import annotations

from torch import Tensor

from augmem.graph import FrameGraphs, graphs_score
from augmem.objective.scores import Scores, make_scores


def ctc_scores(log_probs: Tensor, lengths: Tensor, graphs: FrameGraphs) -> Scores:
    """Compute the log probability of each transcript (Graves et al., ICML 2006, for any topology).

    Args:
        log_probs: (B, T, V) log probabilities, float32 or float64.
        lengths: (B,) frames; rows in any order.
        graphs: numerators of the transcripts, without phone LM.
    """
    return make_scores(graphs_score(log_probs, lengths, graphs))

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

    Example:
        >>> import torch
        >>> from augmem.graph import FrameGraph, stack_graphs
        >>> first, last = torch.tensor([1.0, 0.0]).log(), torch.tensor([0.0, 1.0]).log()
        >>> graph = FrameGraph(                              # one or more frames of blank (0), then of unit 1
        ...     labels=torch.tensor([0, 1]), initial=first, final=last,
        ...     sources=torch.tensor([0, 0, 1]), targets=torch.tensor([0, 1, 1]), scores=torch.zeros(3),
        ... )
        >>> log_probs = torch.tensor([[[0.5, 0.5], [0.25, 0.75]]]).log()
        >>> ctc_scores(log_probs, torch.tensor([2]), stack_graphs([graph])).numerator.exp()   # 0.5 * 0.75
        tensor([0.3750])
    """
    return make_scores(graphs_score(log_probs, lengths, graphs))

"""Frame cross-entropy on forced alignments, as in arXiv 2005.08042."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from augmem.objective.scores import IMPOSSIBLE, Scores, make_scores


def cross_entropy_scores(log_probs: Tensor, lengths: Tensor, labels: Sequence[Sequence[int] | None]) -> Scores:
    """Compute the log probability of the aligned output of every frame, summed per utterance.

    Args:
        log_probs: (B, T, V) log probabilities.
        lengths: (B,) frames.
        labels: B sequences of aligned outputs, one per frame; None or another number of frames makes the utterance
            invalid.
    """
    rows = []
    for frames, length, aligned in zip(log_probs, lengths.tolist(), labels, strict=True):
        if aligned is None or len(aligned) != length:
            rows.append(frames[:0].sum() + IMPOSSIBLE)  # connected to the graph: a whole batch may be invalid
        else:
            targets = torch.as_tensor(aligned, device=log_probs.device)
            rows.append(frames[:length].gather(1, targets[:, None]).sum())
    return make_scores(torch.stack(rows))

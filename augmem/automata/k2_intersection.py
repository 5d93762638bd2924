"""Total scores by k2's pruned intersection, for large denominators and as a reference for tests."""

from __future__ import annotations

import torch
from torch import Tensor

from augmem.graph import INFINITE
from augmem.lazy_k2 import k2


def k2_score(log_probs: Tensor, lengths: Tensor, fsas: k2.Fsa, beam: float) -> Tensor:
    """Compute total scores by k2's intersection.

    k2 requires rows in order of decreasing length, no empty rows, float32 scores and int32 segments on the CPU; this
    function takes rows in any order and of any length.

    Args:
        log_probs: (B, T, V).
        lengths: (B,) frames.
        fsas: one sorted acceptor for all rows, or an FsaVec with one per row.
        beam: paths more than `beam` nats below the best may be pruned.

    Returns:
        (B,) total scores; -inf for rows without frames.
    """
    order = torch.argsort(lengths.cpu(), descending=True, stable=True)
    order = order[lengths.cpu()[order] > 0]
    scores = log_probs.new_full((len(log_probs),), -INFINITE)
    if not len(order):
        return scores
    segments = torch.zeros(len(order), 3, dtype=torch.int32)
    segments[:, 0] = order
    segments[:, 2] = lengths.cpu()[order]
    rows = order if len(fsas.shape) == 3 else torch.zeros_like(order)
    vector = fsas if len(fsas.shape) == 3 else k2.create_fsa_vec([fsas])
    graphs = k2.index_fsa(vector.to(log_probs.device), rows.int().to(log_probs.device))
    lattice = k2.intersect_dense(graphs, k2.DenseFsaVec(log_probs.float(), segments), beam)
    totals = lattice.get_tot_scores(use_double_scores=True, log_semiring=True)
    return scores.scatter(0, order.to(log_probs.device), totals.to(scores.dtype))

"""Total scores by k2's own intersection: the fallback for large graphs, and a check of total_score."""

from __future__ import annotations

import k2
import torch
from torch import Tensor

from augmem.graph.frames import INFINITE


def k2_score(log_probs: Tensor, lengths: Tensor, fsas: k2.Fsa, beam: float) -> Tensor:
    """Total scores (B,) of log_probs (B, T, V); paths over `beam` nats below the best may be left out.

    k2 wants rows in order of decreasing length, none of them empty, float32, and int32 segments on the CPU:
    seen to here, in any order of rows.

    Args:
        fsas: one sorted acceptor for all rows, or a vector of one per row.
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

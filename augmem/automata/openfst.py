"""HLG as an OpenFst graph, for kaldi-decoder and sherpa-onnx.

Letters: A arcs, W word labels of all arcs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from augmem.lazy_k2 import k2
from augmem.openfst import NOT_FINAL, OpenFstGraph

OPEN_END_COST = 1e4  # of ending in a state that is not final: used only if no complete path is within the beam
_FINAL = -1  # label of final arcs in k2


class ArcWords(NamedTuple):
    """Word labels of arcs.

    Args:
        ids: (W,) words, in the order of the arcs.
        counts: (A,) number of words of each arc.
    """

    ids: NDArray[np.int32]
    counts: NDArray[np.int64]


def to_openfst(hlg: k2.Fsa, lm_scale: float = 1.0, word_bonus: float = 0.0, open_ends: bool = False) -> OpenFstGraph:
    """Convert a decoding graph: model outputs plus one as input labels, 0 as epsilon; final costs on states.

    An arc with several words becomes a chain of arcs; only the first one has an input label and a score. A final arc
    with words leads to a last state by an epsilon.

    Args:
        hlg: an Fsa, or an FsaVec of one.
        lm_scale: factor of the scores of lexicon and grammar.
        word_bonus: score added for each word.
        open_ends: make every state final; ends that are not final in `hlg` cost `OPEN_END_COST`.
    """
    arcs, words = hlg.arcs.values().numpy(), _words(hlg)
    costs = (-lm_scale * arcs[:, 3].copy().view(np.float32) - word_bonus * words.counts).astype(np.float32)
    ends = arcs[:, 2] == _FINAL
    final = np.full(int(arcs[:, 1].max()) + 1, OPEN_END_COST if open_ends else NOT_FINAL, np.float32)
    final[-1] = 0
    at_once = ends & (words.counts == 0)
    np.minimum.at(final, arcs[at_once, 0], costs[at_once])
    kept = np.flatnonzero(~at_once)
    return _chains(arcs[kept], costs[kept], ArcWords(words.ids, words.counts[kept]), final)


def _words(hlg: k2.Fsa) -> ArcWords:
    labels = hlg.aux_labels
    if isinstance(labels, torch.Tensor):
        ids = labels.numpy()
        return ArcWords(ids[ids > 0], (ids > 0).astype(np.int64))
    ids, splits = labels.values.numpy(), labels.shape.row_splits(1).numpy()
    before = np.concatenate([[0], np.cumsum(ids > 0)])
    return ArcWords(ids[ids > 0], np.diff(before[splits]))


def _chains(
    arcs: NDArray[np.int32], costs: NDArray[np.float32], words: ArcWords, final: NDArray[np.float32]
) -> OpenFstGraph:
    """Return a graph in which arc n of k2 is followed by counts[n] - 1 arcs with its further words."""
    length = np.maximum(words.counts, 1)
    number = np.repeat(np.arange(len(arcs)), length)
    begin = np.cumsum(length) - length
    place = np.arange(len(number)) - begin[number]  # of each new arc in its chain
    first, last = place == 0, place == length[number] - 1
    outputs = np.zeros(len(number), np.int32)
    outputs[words.counts[number] > 0] = words.ids
    inner = len(final) + np.arange(np.count_nonzero(~last), dtype=np.int32)  # states inside chains
    source, target = arcs[number, 0].copy(), arcs[number, 1].copy()
    source[~first], target[~last] = inner, inner
    inputs = np.where(first, arcs[number, 2] + 1, 0).astype(np.int32)
    chained = np.where(first, costs[number], np.float32(0.0))
    return OpenFstGraph(source, target, inputs, outputs, chained, np.append(final, np.full(len(inner), NOT_FINAL)))

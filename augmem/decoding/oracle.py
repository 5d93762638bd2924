"""Oracle WER: the fewest word errors of any path of a lattice, or of any hypothesis of a list.

If the oracle WER is close to the WER, wider beams are needed; if it is much lower, better scores are.

Letters: Q states, R words of the reference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from augmem.decoding.edit_distance import edit_distances
from augmem.decoding.lattice import Floats, Ints, Lattice


def lattice_oracle_errors(lattice: Lattice, reference: Sequence[int]) -> int:
    """Count the word errors of the best path; all words are deleted if there is no path.

    Dynamic programming over (state, words of the reference), for all states of a frame at once.

    Example:
        >>> import k2, torch
        >>> from augmem.decoding import DecodingGraph, SearchConfig, find_lattices
        >>> graph = DecodingGraph(k2.ctc_topo(max_token=2))  # all unit sequences; units are its words
        >>> log_probs = torch.tensor([[[0.1, 0.8, 0.1], [0.8, 0.1, 0.1]]]).log()
        >>> (found,) = find_lattices(log_probs, torch.tensor([2]), graph, SearchConfig())
        >>> lattice_oracle_errors(found.lattice, [1, 2]), lattice_oracle_errors(found.lattice, [1, 2, 1])
        (0, 1)
    """
    if lattice.is_empty:
        return len(reference)
    positions = np.arange(len(reference) + 1.0)
    errors = np.full((lattice.num_states, len(reference) + 1), np.inf)
    errors[0] = positions
    for frame in lattice.frames():
        arcs = lattice.arcs_of(frame)
        reached = errors[lattice.source[arcs]]
        for words in lattice.words[arcs].T:
            emitting = np.flatnonzero(words)
            reached[emitting] = add_word(reached[emitting], words[emitting], np.asarray(reference))
        minimum_by_state(errors, lattice.target[arcs], reached)
    return int(errors[-1, -1])


def add_word(errors: Floats, words: Ints, reference: Ints) -> Floats:
    """Compute the fewest errors (N, R + 1) after one more word from those before it.

    The word is an insertion, or aligned with the next word of the reference; any number of deletions may follow.
    """
    after = errors + 1
    aligned = errors[:, :-1] + (words[:, None] != reference[None, :])
    after[:, 1:] = np.minimum(after[:, 1:], aligned)
    positions = np.arange(errors.shape[1])
    return np.minimum.accumulate(after - positions, axis=1) + positions


def minimum_by_state(errors: Floats, states: Ints, values: Floats) -> None:
    """Set errors[state] to the minimum of the rows of `values` that belong to the state."""
    order = np.argsort(states, kind="stable")
    states = states[order]
    first = np.flatnonzero(np.diff(states, prepend=-1))
    if len(first):
        errors[states[first]] = np.minimum.reduceat(values[order], first, axis=0)


def nbest_oracle_errors(hypotheses: Sequence[Sequence[str]], reference: Sequence[str]) -> int:
    """Count the word errors of the best hypothesis; all words are deleted if there is none.

    Example:
        >>> nbest_oracle_errors([["A"], ["A", "B"]], ["A", "C"])
        1
    """
    return min(edit_distances(hypotheses, [reference])[:, 0].tolist(), default=len(reference))

"""Lattices in Kaldi's text format: an archive for `lattice-copy ark,t:` and similar tools.

    utterance
    source target unit word graph,acoustic
    ...
    state graph,acoustic          (a final state)
                                  (an empty line ends the lattice)

Symbols are integers. Input symbols are the outputs of the model plus one (0 is epsilon), output symbols the ids of
words.txt. Costs are negated, unscaled scores. An arc with several words becomes a chain of arcs; only the first one has
a unit.
"""

from __future__ import annotations

from augmem.decoding.lattice import FINAL, Lattice

EPSILON = 0


def as_kaldi_text(name: str, lattice: Lattice) -> str:
    """Format the lattice of one utterance; only the name if it has no arcs."""
    lines, fresh = [name], lattice.num_states - 1  # Kaldi has no end state, so its number is free
    for arc in range(lattice.num_arcs):
        source, target, unit = int(lattice.source[arc]), int(lattice.target[arc]), int(lattice.unit[arc])
        costs = f"{cost(lattice.graph[arc])},{cost(lattice.acoustic[arc])}"
        if unit == FINAL:
            lines.append(f"{source} {costs}")
            continue
        words = [int(word) for word in lattice.words[arc] if word > 0] or [EPSILON]
        states = [source, *range(fresh, fresh + len(words) - 1), target]
        fresh += len(words) - 1
        for place, word in enumerate(words):
            label, weight = (unit + 1, costs) if place == 0 else (0, "0,0")
            lines.append(f"{states[place]} {states[place + 1]} {label} {word} {weight}")
    return "\n".join([*lines, "", ""])


def cost(score: float) -> str:
    """Format a score as a cost, 0 without a sign."""
    return f"{-score + 0.0:.9g}"

"""A lang in memory with given pronunciations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from augmem.lang.lang import Lang


class ToyLang(Lang):
    """A lang without a folder.

    Args:
        lexicon: word -> its pronunciations, as names of units.
        silence: probability of the unit SIL around words; None for a lang without silence (as BPE langs are).
    """

    silence_probability = 0.0  # overridden per instance

    def __init__(self, lexicon: Mapping[str, Sequence[str]], silence: float | None = 0.5) -> None:
        entries = {word: [p.split() for p in found] for word, found in lexicon.items()}
        names = sorted({unit for found in entries.values() for p in found for unit in p} - {"SIL"})
        names = ["<eps>", *([] if silence is None else ["SIL"]), *names]
        names += [f"#{i}" for i in range(1 + sum(map(len, entries.values())))]
        tokens = {name: i for i, name in enumerate(names)}
        words = {word: i for i, word in enumerate(["<eps>", *sorted(entries), "#0"])}
        pronunciations = {word: [[tokens[unit] for unit in p] for p in found] for word, found in entries.items()}
        super().__init__(Path("toy"), tokens, words, pronunciations)
        oov_word = "<UNK>" if "<UNK>" in entries else next(iter(entries))
        vars(self).update(silence_probability=silence or 0.0, oov_word=oov_word)

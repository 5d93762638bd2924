"""Forced alignment: when was each word and each unit of a known transcript said?

The numerator's own units (lexicon, optional silences) and the topology make a graph of all ways to say a transcript.
Its best path tells where each unit begins; which units are which word's follows from the lexicon.

A unit's end needs a rule. Models with a blank answer with a spike where they recognise a unit, and with blank after it:
so inside a word a unit lasts until the next one, and at a word's end it keeps `hold` frames of the blank after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import k2
import torch
from torch import Tensor

from augmem.graph import Biphones, NumeratorCompiler, build_topology
from augmem.lang import SILENCE, Lang

EXACT_BEAM = 1000.0  # nats; beyond any path that matters


class Timed(NamedTuple):
    """A word or unit, and its place in seconds from the beginning of the audio."""

    symbol: str
    begin: float
    end: float


class Alignment(NamedTuple):
    """The transcript's words, and their units with the silences between them.

    Args:
        score: natural log-probability of the best path by the acoustic model alone.
        outputs: the model's output in each frame of it.
    """

    words: list[Timed]
    units: list[Timed]
    score: float
    outputs: list[int]


class Spoken(NamedTuple):
    """A unit on the best path: first frame, and the frame after the last one that scores it."""

    unit: int
    begin: int
    end: int


class Aligner:
    """Aligns transcripts to a model's scores.

    Args:
        lang: the model's lang folder.
        topology: name of the model's topology.
        time_of: seconds at which a frame of scores begins (see `AcousticModel.time_of`).
        hold: frames of blank, at most, that belong to the last unit of a word.
        biphones: of the model's description.
    """

    def __init__(
        self, lang: Lang, topology: str, time_of: Callable[[int], float], hold: int = 2, biphones: Biphones = ()
    ) -> None:
        self.lang, self.time_of, self.hold = lang, time_of, hold
        self.topology = build_topology(topology, lang.num_units, biphones)
        self.compiler = NumeratorCompiler(lang, topology, biphones=biphones)

    def align(self, log_probs: Tensor, text: str) -> Alignment:
        """Align one utterance.

        Args:
            log_probs: (T, V) log-probabilities of the model's outputs.
            text: the normalised transcript; words the lexicon lacks are aligned as <UNK>, under their own names.

        Raises:
            ValueError: there is no word, or so many words do not fit into so few frames.
        """
        if not text.split():
            raise ValueError("the transcript has no words: write down what is said, or leave the audio out")
        spoken, score, outputs = self._best_path(log_probs, text)
        firsts = self._first_units([unit.unit for unit in spoken], self.lang.word_ids(text))
        ends = self._ends(spoken, set(firsts), len(log_probs))
        units = [
            self._timed(self.lang.unit_of[unit.unit], unit.begin, end) for unit, end in zip(spoken, ends, strict=True)
        ]
        words = []
        for word, (first, after) in zip(text.split(), pairwise([*firsts, len(spoken)]), strict=True):
            last = max(n for n in range(first, after) if n == first or spoken[n].unit != self._silence)
            words.append(self._timed(word, spoken[first].begin, ends[last]))
        return Alignment(words, units, score, outputs)

    def _best_path(self, log_probs: Tensor, text: str) -> tuple[list[Spoken], float, list[int]]:
        """The units of the best path in order, its score and its outputs, one a frame."""
        frames = len(log_probs)
        graph = k2.compose(self.topology, self.compiler.units([text])[0])
        dense = k2.DenseFsaVec(log_probs.float()[None].cpu(), torch.tensor([[0, 0, frames]], dtype=torch.int32))
        found = k2.intersect_dense(k2.create_fsa_vec([k2.arc_sort(k2.connect(graph))]), dense, EXACT_BEAM)
        path = k2.shortest_path(found, use_double_scores=True)
        if path.num_arcs == 0:
            raise ValueError(
                f"{len(text.split())} words do not fit into {frames} frames ({self.time_of(frames):.2f} s): is the "
                "transcript another utterance's, or the audio cut short?"
            )
        spoken: list[Spoken] = []
        for frame, (output, unit) in enumerate(zip(path.labels.tolist(), path.aux_labels.tolist(), strict=True)):
            if unit > 0:
                spoken.append(Spoken(unit, frame, frame + 1))
            elif output > 0:  # the same unit goes on
                spoken[-1] = spoken[-1]._replace(end=frame + 1)
        return spoken, float(path.scores.double().sum()), path.labels.tolist()[:-1]

    def _first_units(self, units: Sequence[int], words: Sequence[int]) -> list[int]:
        """Place of each word's first unit, where the units are read as these words with single silences between."""
        # Of each word: the place after it -> the place before it, and its first unit's.
        reached: list[dict[int, tuple[int, int]]] = [{0: (0, 0)}]
        for word in words:
            step: dict[int, tuple[int, int]] = {}
            for place in reached[-1]:
                for begin in (place, place + 1) if list(units[place : place + 1]) == [self._silence] else (place,):
                    for spelt in self._spellings[word]:
                        if list(units[begin : begin + len(spelt)]) == spelt:
                            step.setdefault(begin + len(spelt), (place, begin))
            reached.append(step)
        place = next(end for end in reached[-1] if list(units[end:]) in ([], [self._silence]))
        firsts = []
        for step in reversed(reached[1:]):
            place, first = step[place]
            firsts.append(first)
        return firsts[::-1]

    def _ends(self, spoken: Sequence[Spoken], firsts: set[int], frames: int) -> list[int]:
        """The frame after each unit's last: see the head of this file."""
        ends = []
        for number, unit in enumerate(spoken):
            following = spoken[number + 1].begin if number + 1 < len(spoken) else frames
            inner = number + 1 < len(spoken) and number + 1 not in firsts and spoken[number + 1].unit != self._silence
            ends.append(following if inner else min(following, unit.end + self.hold))
        return ends

    def _timed(self, symbol: str, begin: int, end: int) -> Timed:
        return Timed(symbol, self.time_of(begin), self.time_of(end))

    @cached_property
    def _silence(self) -> int:
        return self.lang.tokens.get(SILENCE, -1)

    @cached_property
    def _spellings(self) -> dict[int, list[list[int]]]:
        """Pronunciations by word id."""
        return {self.lang.words[word]: spelt for word, spelt in self.lang.pronunciations.items()}

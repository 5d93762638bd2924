"""Forced alignment: times of the words and units of a known transcript.

The unit sequences of a transcript (lexicon, optional silences) composed with the topology form a graph. Its best path
gives the begin of each unit, and the lexicon assigns units to words.

Models with a blank emit a unit in one frame or a few, followed by blank. Therefore a unit inside a word lasts until the
next unit, and the last unit of a word lasts `hold` frames of blank longer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from augmem.automata import NumeratorCompiler, build_topology
from augmem.errors import UserError
from augmem.graph import Biphones
from augmem.lang import Lang
from augmem.lazy_k2 import k2

EXACT_BEAM = 1000.0  # nats; no pruning in practice


class TimedSymbol(NamedTuple):
    """A word or unit with begin and end in seconds."""

    symbol: str
    begin: float
    end: float


class Alignment(NamedTuple):
    """Words and units of a transcript with times.

    Args:
        words: the words.
        units: the units, silences included.
        score: acoustic log-probability of the best path.
        outputs: model output of each frame of the best path.

    Example:
        >>> word = TimedSymbol("A", begin=0.04, end=0.12)
        >>> Alignment(words=[word], units=[TimedSymbol("A_S", 0.04, 0.08)], score=-1.5, outputs=[0, 3, 0]).words[0].end
        0.12
    """

    words: list[TimedSymbol]
    units: list[TimedSymbol]
    score: float
    outputs: list[int]


class UnitFrames(NamedTuple):
    """A unit on the best path: its first frame, and the frame after the last one that scores it."""

    unit: int
    begin: int
    end: int


class Aligner:
    """Aligns transcripts with acoustic scores.

    Args:
        lang: lang folder of the model.
        topology: topology of the model.
        time_of: returns the time in seconds at which a frame begins (`AcousticModel.time_of`).
        hold: maximum number of blank frames that belong to the last unit of a word.
        biphones: biphones of the model.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from augmem.lang import LangConfig, prepare_lang
        >>> with TemporaryDirectory() as folder:
        ...     prepare_lang(LangConfig(units="grapheme"), ["A CAT"], Path(folder))
        ...     lang = Lang.load(Path(folder))
        >>> outputs = [0, lang.tokens["A_S"], 0, *(lang.tokens[unit] for unit in ("C_B", "A_I", "T_E")), 0]
        >>> log_probs = torch.full((len(outputs), lang.num_units), -10.0)
        >>> log_probs[range(len(outputs)), outputs] = 0.0
        >>> aligner = Aligner(lang, "ctc", time_of=lambda frame: 0.04 * frame)
        >>> [word.symbol for word in aligner.align(log_probs, "A CAT").words]
        ['A', 'CAT']
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
            text: normalised transcript; words outside the lexicon are aligned as <UNK>, under their own names.

        Raises:
            UserError: the transcript has no word, or more units than fit into the frames.
        """
        if not text.split():
            raise UserError("the transcript has no words: complete it, or leave the audio out")
        spoken, score, outputs = self._best_path(log_probs, text)
        firsts = self._first_units([unit.unit for unit in spoken], self.lang.word_ids(text))
        ends = self._ends(spoken, set(firsts), len(log_probs))
        units = [
            self._to_symbol(self.lang.unit_of[unit.unit], unit.begin, end)
            for unit, end in zip(spoken, ends, strict=True)
        ]
        words = []
        for word, (first, after) in zip(text.split(), pairwise([*firsts, len(spoken)]), strict=True):
            last = max(n for n in range(first, after) if n == first or spoken[n].unit != self._silence)
            words.append(self._to_symbol(word, spoken[first].begin, ends[last]))
        return Alignment(words, units, score, outputs)

    def _best_path(self, log_probs: Tensor, text: str) -> tuple[list[UnitFrames], float, list[int]]:
        """Return the units of the best path, its score, and its output in each frame."""
        frames = len(log_probs)
        graph = k2.compose(self.topology, self.compiler.units([text])[0])
        dense = k2.DenseFsaVec(log_probs.float()[None].cpu(), torch.tensor([[0, 0, frames]], dtype=torch.int32))
        found = k2.intersect_dense(k2.create_fsa_vec([k2.arc_sort(k2.connect(graph))]), dense, EXACT_BEAM)
        path = k2.shortest_path(found, use_double_scores=True)
        if path.num_arcs == 0:
            raise UserError(
                f"{len(text.split())} words do not fit into {frames} frames ({self.time_of(frames):.2f} s): check "
                "that the transcript belongs to this audio, and that the audio is complete"
            )
        spoken: list[UnitFrames] = []
        for frame, (output, unit) in enumerate(zip(path.labels.tolist(), path.aux_labels.tolist(), strict=True)):
            if unit > 0:
                spoken.append(UnitFrames(unit, frame, frame + 1))
            elif output > 0:  # the unit continues
                spoken[-1] = spoken[-1]._replace(end=frame + 1)
        return spoken, float(path.scores.double().sum()), path.labels.tolist()[:-1]

    def _first_units(self, units: Sequence[int], words: Sequence[int]) -> list[int]:
        """Return the position of the first unit of each word; single silences may occur between words."""
        # For each word: position after it -> position before it, and position of its first unit.
        reached: list[dict[int, tuple[int, int]]] = [{0: (0, 0)}]
        for word in words:
            step: dict[int, tuple[int, int]] = {}
            for place in reached[-1]:
                for begin in (place, place + 1) if list(units[place : place + 1]) == [self._silence] else (place,):
                    for pronunciation in self._pronunciations[word]:
                        if list(units[begin : begin + len(pronunciation)]) == pronunciation:
                            step.setdefault(begin + len(pronunciation), (place, begin))
            reached.append(step)
        place = next(end for end in reached[-1] if list(units[end:]) in ([], [self._silence]))
        firsts = []
        for step in reversed(reached[1:]):
            place, first = step[place]
            firsts.append(first)
        return firsts[::-1]

    def _ends(self, spoken: Sequence[UnitFrames], firsts: set[int], frames: int) -> list[int]:
        """Return the end frame of each unit; see the docstring of the module."""
        ends = []
        for number, unit in enumerate(spoken):
            following = spoken[number + 1].begin if number + 1 < len(spoken) else frames
            inner = number + 1 < len(spoken) and number + 1 not in firsts and spoken[number + 1].unit != self._silence
            ends.append(following if inner else min(following, unit.end + self.hold))
        return ends

    def _to_symbol(self, symbol: str, begin: int, end: int) -> TimedSymbol:
        return TimedSymbol(symbol, self.time_of(begin), self.time_of(end))

    @cached_property
    def _silence(self) -> int:
        return next(iter(self.lang.silence_ids), -1)

    @cached_property
    def _pronunciations(self) -> dict[int, list[list[int]]]:
        """Pronunciations by word id."""
        return {self.lang.words[word]: forms for word, forms in self.lang.pronunciations.items()}

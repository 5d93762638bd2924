"""Forced alignment: when was each word and each unit of a known transcript said?

The topology, the lexicon and the transcript are composed into a graph of all ways to say it; its best path
tells the pronunciations, where the silences are, and the frame at which each word and unit begins.

A unit's end needs a rule. Models with a blank answer with a spike where they recognise a unit and blank
thereafter: so a unit is taken to last until the next one begins, but no longer than `hold` seconds of blank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import k2
import torch
from torch import Tensor

from augmem.decoding.lattice import FINAL
from augmem.graph.fsa import Arc, build_fsa
from augmem.graph.topology import build_topology
from augmem.lang.lexicon import SILENCE

BEAM = 1000.0  # far beyond any path that matters: the search is exact


class Lexicon(Protocol):
    """What alignment needs of a lang folder (`augmem.lang.Lang` has it)."""

    tokens: dict[str, int]
    words: dict[str, int]
    oov_word: str
    num_units: int

    def L(self) -> k2.Fsa: ...  # noqa: N802


@dataclass(frozen=True)
class Timed:
    """A word or unit and its place.

    Args:
        symbol: the word, or the unit's name.
        start: seconds from the beginning of the utterance.
        duration: seconds.
        confidence: how sure the recogniser is of it; 1 where nothing was asked.
    """

    symbol: str
    start: float
    duration: float
    confidence: float = 1.0

    @property
    def end(self) -> float:
        return self.start + self.duration


@dataclass(frozen=True)
class Alignment:
    """The times of one utterance.

    Args:
        words: the transcript's words.
        units: their units and the silences between them.
        score: log-probability of the best alignment, pronunciation weights included.
    """

    words: tuple[Timed, ...]
    units: tuple[Timed, ...]
    score: float


class Step(NamedTuple):
    """One frame of the best path: its output, the unit that begins there (or 0) and the words that do."""

    output: int
    unit: int
    words: list[int]


class Aligner:
    """Aligns transcripts to a model's scores.

    Args:
        lang: the model's lang folder.
        topology: name of the model's topology.
        frame_shift: seconds from one frame of scores to the next.
        hold: seconds of blank, at most, that are reckoned to the unit before them.
    """

    def __init__(self, lang: Lexicon, topology: str, frame_shift: float, hold: float = 0.12) -> None:
        self.words = lang.words
        self.oov = lang.words[lang.oov_word]
        self.unit_names = {number: name for name, number in lang.tokens.items()}
        self.topology = k2.arc_sort(build_topology(topology, lang.num_units))
        self.lexicon = k2.arc_sort(lang.L().invert())  # words to units
        self.frame_shift = frame_shift
        self.hold = round(hold / frame_shift)

    def align(self, log_probs: Tensor, words: Sequence[str]) -> Alignment:
        """Align one utterance.

        Args:
            log_probs: (T, V) log-probabilities of the model's outputs.
            words: the transcript; words the lexicon lacks are aligned as its unknown word and keep their
                names.
        Raises:
            ValueError: the transcript cannot be said in so few frames.
        """
        steps, score = self.best_path(log_probs, [self.words.get(word, self.oov) for word in words])
        starts = [frame for frame, step in enumerate(steps) if step.unit]
        ends = [self.end_of(steps, start, stop) for start, stop in zip(starts, [*starts[1:], len(steps)], strict=True)]
        units = [
            self.timed(self.unit_names[steps[start].unit], start, end) for start, end in zip(starts, ends, strict=True)
        ]
        return Alignment(self.word_times(words, steps, starts, ends), tuple(units), score)

    def best_path(self, log_probs: Tensor, words: Sequence[int]) -> tuple[list[Step], float]:
        """The frames of the best path and its score."""
        frames = len(log_probs)
        if frames == 0:
            raise ValueError(self.misfit(words, frames))
        scores = log_probs.float().cpu()[None]
        dense = k2.DenseFsaVec(scores, torch.tensor([[0, 0, frames]], dtype=torch.int32))
        graph = k2.create_fsa_vec([self.graph(words)])
        found = k2.shortest_path(k2.intersect_dense(graph, dense, output_beam=BEAM), use_double_scores=True)
        if found.num_arcs == 0:
            raise ValueError(self.misfit(words, frames))
        labels, units, emitted = found.labels.tolist(), found.units.tolist(), word_lists(found.aux_labels)
        steps = [Step(*step) for step in zip(labels, units, emitted, strict=True) if step[0] != FINAL]
        return steps, float(found.scores.double().sum())

    def misfit(self, words: Sequence[int], frames: int) -> str:
        """Why there is no path."""
        return (
            f"{len(words)} words do not fit into {frames} frames ({frames * self.frame_shift:.2f} s): "
            "is the transcript another utterance's, or the audio cut short?"
        )

    def graph(self, words: Sequence[int]) -> k2.Fsa:
        """H o L o words: labels are outputs, `units` the units where they begin, `aux_labels` the words."""
        transcript = k2.arc_sort(linear(words))
        paths = k2.connect(k2.intersect(self.lexicon, transcript, treat_epsilons_specially=False))
        said = k2.Fsa(paths.arcs, aux_labels=paths.labels.contiguous())  # invert() leaves views k2 itself refuses
        said.scores = paths.scores.contiguous()
        said.labels = paths.aux_labels.contiguous()
        said = k2.arc_sort(k2.connect(k2.remove_epsilon(k2.top_sort(said))))
        return k2.arc_sort(k2.connect(k2.compose(self.topology, said, inner_labels="units")))

    def end_of(self, steps: Sequence[Step], start: int, stop: int) -> int:
        """The frame after the last one of the unit that begins at `start`; the next one begins at `stop`."""
        last = max(frame for frame in range(start, stop) if frame == start or steps[frame].output)
        return min(stop, last + 1 + self.hold)

    def timed(self, symbol: str, start: int, end: int) -> Timed:
        """Frames to seconds."""
        return Timed(symbol, start * self.frame_shift, (end - start) * self.frame_shift)

    def word_times(
        self, words: Sequence[str], steps: Sequence[Step], starts: Sequence[int], ends: Sequence[int]
    ) -> tuple[Timed, ...]:
        """Words begin with their first unit and end with their last; the silence after them is not theirs."""
        begins = [frame for frame, step in enumerate(steps) for _ in step.words]
        times = []
        for word, begin, stop in zip(words, begins, [*begins[1:], len(steps)], strict=True):
            own = [n for n, start in enumerate(starts) if begin <= start < stop]
            while len(own) > 1 and self.unit_names[steps[starts[own[-1]]].unit] == SILENCE:
                own.pop()
            times.append(self.timed(word, begin, ends[own[-1]]))
        return tuple(times)


def linear(words: Sequence[int]) -> k2.Fsa:
    """An acceptor of one word sequence, which may be empty, with a loop for epsilon on every state."""
    end = len(words)
    loops = [Arc(state, state, 0, 0) for state in range(end + 1)]
    steps = [Arc(state, state + 1, word, word) for state, word in enumerate(words)]
    return build_fsa([*loops, *steps, Arc(end, end + 1, FINAL, FINAL)], acceptor=True)


def word_lists(aux_labels: Tensor | k2.RaggedTensor) -> list[list[int]]:
    """The words on each arc."""
    if isinstance(aux_labels, Tensor):
        return [[word] if word > 0 else [] for word in aux_labels.tolist()]
    return [[word for word in words if word > 0] for words in aux_labels.tolist()]

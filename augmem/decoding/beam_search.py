"""Beam search of acoustic scores in HLG, frame by frame.

Paths that score less than the best one of their frame by more than a beam are dropped, and so are those that do not end
in one of the best `max_active` states. The state of a search is kept between frames, so that offline decoding and
streams use the same search, and a chunk costs the same at any time.

After each chunk, arcs are removed that cannot be part of the final lattice: those whose best path to each active state
scores less than the best path to that state by more than the output beam (Povey et al., "Generating exact lattices in
the WFST framework", 2012). The final lattice has exactly the arcs on paths within the output beam of the best path.

Letters: N active states, A arcs, T frames, V units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from augmem.decoding.config import SearchConfig
from augmem.decoding.graph_arrays import GraphArrays
from augmem.decoding.kernels import compile_kernels
from augmem.decoding.lattice import FINAL, Floats, Lattice, empty_lattice
from augmem.decoding.search_kernels import Float32s, FrameArcs, Int32s, expand, remove_arcs

OPENED = -1
PRUNING_INTERVAL = 32  # frames
GROWTH, APPROACH = 1.25, 0.2  # of the beam in a frame while there are too few states, and afterwards
MAX_BEAM = 1e6  # nats


@dataclass(frozen=True)
class SearchedFrame:
    """States and arcs of one frame.

    Args:
        states: (N,) graph states before the frame.
        forward: (N,) scores of the best paths to them, relative to the best one.
        arcs: from `states` to the states of the next frame; OPENED is the number of final arcs that HLG does not have.
        loss_ahead: (N,) the smallest sum of losses of a path from each state to any active state; None: not pruned yet.
    """

    states: Int32s
    forward: Float32s
    arcs: FrameArcs
    loss_ahead: Float32s | None = None

    def best_into(self, target: int) -> tuple[int, int]:
        """Return source and number of the best arc into a state."""
        entering = np.flatnonzero(self.arcs.target == target)
        best = entering[self.arcs.loss[entering].argmin()]
        return int(self.arcs.source[best]), int(self.arcs.arc[best])


@dataclass
class SearchState:
    """State of the search of one stream, or of one segment of it.

    Args:
        states: (N,) active states of HLG.
        forward: (N,) scores of the best paths to them, relative to the best one.
        beam: current search beam; None before the first frame.
        frames: searched frames.
        log_probs: chunks (T, V) of the searched frames.
        best: arcs of the best path and the states before them, as of the last call of `current_best_path`.
        shared: a frame before which all paths have the same words, and the number of these words.
        stable_words: number of words with which every path begins, as of the last call of `count_stable_words`.
    """

    states: Int32s = field(default_factory=lambda: np.zeros(1, dtype=np.int32))
    forward: Float32s = field(default_factory=lambda: np.zeros(1, dtype=np.float32))
    beam: float | None = None
    frames: list[SearchedFrame] = field(default_factory=list)
    log_probs: list[Tensor] = field(default_factory=list)
    best: list[tuple[int, int]] = field(default_factory=list)
    shared: tuple[int, int] = (0, 0)
    stable_words: int = 0

    @property
    def num_frames(self) -> int:
        """Number of frames searched so far."""
        return len(self.frames)

    def copy(self) -> SearchState:
        """Return a state that can be searched further without changing this one."""
        return replace(self, frames=list(self.frames), log_probs=list(self.log_probs), best=list(self.best))

    @property
    def is_lost(self) -> bool:
        """Whether no path is left, for example because scores are NaN."""
        return len(self.states) == 0


class BeamSearch:
    """Beam search of utterances and streams; `SearchState` holds the state of one.

    Args:
        graph: the decoding graph.
        config: beams and limits.
    """

    def __init__(self, graph: GraphArrays, config: SearchConfig) -> None:
        self.graph, self.config = graph, config
        compile_kernels()  # before the first utterance or packet

    def advance(self, state: SearchState, chunk: Tensor) -> None:
        """Search the next frames; updates `state`.

        Args:
            state: state of the search.
            chunk: (T, V) log-probabilities of the units.
        """
        for part in chunk.split(PRUNING_INTERVAL):
            self.extend(state, part)
            prune(state.frames, np.zeros(len(state.states), dtype=np.float32), self.config.output_beam)

    def extend(self, state: SearchState, chunk: Tensor) -> None:
        """Run `advance` without removing arcs, for a few frames of which only the best path is needed."""
        scores = self.config.acoustic_scale * chunk.float().cpu().numpy()
        impossible = np.full((len(scores), 1), -np.inf, dtype=np.float32)  # column -1: the final unit
        for row in np.concatenate([scores, impossible], axis=1):
            self._step(state, row)
        state.log_probs.append(chunk)

    def _step(self, state: SearchState, acoustic: Float32s) -> None:
        """Search one frame with the scaled scores (V + 1,) of the units; the last one is that of final arcs."""
        state.beam = next_beam(state.beam or self.config.search_beam, len(state.states), self.config)
        lowest = -np.inf  # score of the worst of the best `max_active` states
        if (surplus := len(state.forward) - self.config.max_active) > 0:
            lowest = float(np.partition(state.forward, surplus)[surplus])
        beams = float(state.beam), self.config.output_beam
        states, forward, arcs = expand(self.graph.views, state.states, state.forward, acoustic, lowest, beams)
        state.frames.append(SearchedFrame(state.states, state.forward, arcs))
        state.states, state.forward = states, forward

    def is_complete(self, state: SearchState) -> bool:
        """Return whether a path ends in a final state of HLG."""
        return len(self.graph.final_arcs(state.states)[0]) > 0

    def relative_cost(self, state: SearchState) -> float:
        """Return the score of the best path minus that of the best complete path, in nats; inf if none is complete."""
        source, arc = self.graph.final_arcs(state.states)
        complete = state.forward[source] + self.graph.columns(arc).score
        return float(state.forward.max(initial=-np.inf) - complete.max(initial=-np.inf))

    def lattice(self, state: SearchState, num_frames: int | None = None, open_end: bool = False) -> Lattice:
        """Return the lattice of all frames, or of the first `num_frames` frames; `state` is not changed.

        Its paths end in final states of HLG; if none does or if `open_end` is set, in any state.
        """
        count = state.num_frames if num_frames is None else num_frames
        if state.is_lost:
            return empty_lattice(count, self.config.acoustic_scale)
        ending = count == state.num_frames
        states, forward = (
            (state.states, state.forward) if ending else (state.frames[count].states, state.frames[count].forward)
        )
        frames = [*state.frames[:count], self._final_frame(states, forward, open_end)]
        prune(frames, np.zeros(1, dtype=np.float32), self.config.output_beam)
        return self._to_lattice(frames, torch.cat(state.log_probs)[:count].double().numpy())

    def _final_frame(self, states: Int32s, forward: Float32s, open_end: bool) -> SearchedFrame:
        """Return the final arcs of some states; without any or if `open_end` is set, opened ones with score 0."""
        source, arc = self.graph.final_arcs(states)
        end = forward[source] + self.graph.columns(arc).score
        if open_end or not len(source):
            source, end = np.arange(len(states), dtype=np.int32), forward
            arc = np.full_like(source, OPENED)
        return SearchedFrame(states, forward, FrameArcs(source, np.zeros_like(source), arc, end.max() - end))

    def _to_lattice(self, frames: Sequence[SearchedFrame], log_probs: Floats) -> Lattice:
        first = np.cumsum([0, *(len(frame.states) for frame in frames)])  # numbers of the first states of frames
        at = np.repeat(np.arange(len(frames)), [len(frame.arcs.arc) for frame in frames])
        source, target, arc, _ = map(np.concatenate, zip(*(frame.arcs for frame in frames), strict=True))
        opened, known = arc == OPENED, np.maximum(arc, 0)
        columns = self.graph.columns(known)
        unit = np.where(opened, FINAL, columns.unit).astype(np.int64)
        last = np.minimum(at, len(log_probs) - 1)
        return Lattice(
            source=first[at] + source,
            target=first[at + 1] + target,
            frame=at,
            unit=unit,
            words=np.where(opened[:, None], 0, self.graph.words(known)),
            word_starts=np.where(opened, 0, self.graph.word_starts(known)),
            acoustic=np.where(unit == FINAL, 0.0, log_probs[last, unit]),
            graph=np.where(opened, 0.0, columns.score.astype(np.float64)),
            num_frames=len(log_probs),
            acoustic_scale=self.config.acoustic_scale,
        )


def next_beam(beam: float, active: int, config: SearchConfig) -> float:
    """Return the search beam of the next frame, given that of this one and the number of active states."""
    if active < config.min_active:
        return min(GROWTH * max(beam, config.search_beam), MAX_BEAM)
    return beam + APPROACH * (config.search_beam - beam)


def prune(frames: list[SearchedFrame], loss_ahead: Float32s, beam: float) -> None:
    """Remove arcs that cannot be part of the final lattice, in place; go back as far as anything changes.

    Args:
        frames: searched frames.
        loss_ahead: (N,) of the states after the last frame.
        beam: the output beam.
    """
    place = np.arange(len(loss_ahead), dtype=np.int32)  # new positions of the states after the frame
    for number in reversed(range(len(frames))):
        frame = frames[number]
        alive, ahead, kept = remove_arcs(frame.arcs, loss_ahead, place, len(frame.states), beam)
        frames[number] = SearchedFrame(frame.states.take(alive), frame.forward.take(alive), kept, ahead)
        if frame.loss_ahead is not None and np.array_equal(ahead, frame.loss_ahead):
            break
        loss_ahead = np.full(len(frame.states), np.inf, dtype=np.float32)
        loss_ahead[alive] = ahead
        place = np.zeros(len(frame.states), dtype=np.int32)
        place[alive] = np.arange(len(alive), dtype=np.int32)

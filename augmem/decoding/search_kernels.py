"""Inner loops of the beam search, compiled.

Letters: Q states and A arcs of HLG, N active states, V units; N' and A' states and arcs that are left.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from augmem.compiled import compile_function

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Float32s = NDArray[np.float32]

NEVER = np.iinfo(np.int64).max

TARGET, UNIT, SCORE = 1, 2, 3  # columns of k2's arcs


class GraphViews(NamedTuple):
    """HLG as the kernels read it.

    Args:
        first: (Q + 1,) first arc of each state.
        arcs: (A, 4) arcs.
        scores: the same memory as floats.
        highest_score: highest score of an arc, or 0.
        numbers: (Q,) scratch; -1 everywhere.
    """

    first: Int32s
    arcs: Int32s
    scores: Float32s
    highest_score: float
    numbers: Int32s


class WordLabels(NamedTuple):
    """Words of the arcs of HLG.

    Args:
        words: word ids; ids that are not positive are no words.
        splits: (A + 1,) words splits[a] to splits[a + 1] - 1 are those of arc a; empty: word a is that of arc a.
    """

    words: Int32s
    splits: Int32s


class FrameArcs(NamedTuple):
    """Arcs that the search takes in one frame.

    Args:
        source: (A,) positions of their source states; they do not decrease.
        target: (A,) positions of their target states.
        arc: (A,) numbers in HLG.
        loss: (A,) score of the best path to the target state minus that of the best path to it with this arc.
    """

    source: Int32s
    target: Int32s
    arc: Int32s
    loss: Float32s


@compile_function
def expand(
    graph: GraphViews,
    states: Int32s,
    forward: Float32s,
    acoustic: Float32s,
    lowest: float,
    beams: tuple[float, float],
) -> tuple[Int32s, Float32s, FrameArcs]:
    """Search one frame.

    Args:
        graph: views of HLG.
        states: (N,) active states.
        forward: (N,) their scores.
        acoustic: (V + 1,) scores of the units; the last one is that of final arcs.
        lowest: lowest score of a state to go on from.
        beams: search beam and output beam.

    Returns:
        the next states (N',), their scores relative to the best one, and the arcs within the output beam (A').
    """
    first, arcs, scores, highest_score, numbers = graph
    search_beam, output_beam = np.float32(beams[0]), np.float32(beams[1])
    best = np.float32(-np.inf)  # of an arc; a lower bound of the best score of the next frame so far
    if len(forward):
        top = np.argmax(forward)
        for number in range(first[states[top]], first[states[top] + 1]):
            best = max(best, forward[top] + scores[number, SCORE] + acoustic[arcs[number, UNIT]])
    bound = best - search_beam - np.max(acoustic) - highest_score  # below it, no arc is within the beam
    chosen = np.flatnonzero((forward >= lowest) & (forward >= bound))
    capacity = 0
    for position in chosen:
        capacity += first[states[position] + 1] - first[states[position]]
    source, arc = np.empty(capacity, np.int32), np.empty(capacity, np.int32)
    target, end = np.empty(capacity, np.int32), np.empty(capacity, np.float32)
    count = 0
    for position in chosen:
        before = forward[position]
        for number in range(first[states[position]], first[states[position] + 1]):
            score = before + scores[number, SCORE] + acoustic[arcs[number, UNIT]]
            if score > best - search_beam:
                best = max(best, score)
                source[count], arc[count], target[count], end[count] = position, number, arcs[number, TARGET], score
                count += 1
    return _renumber(source[:count], arc[:count], target[:count], end[:count], best, search_beam, output_beam, numbers)


@compile_function
def _renumber(
    source: Int32s,
    arc: Int32s,
    target: Int32s,
    end: Float32s,
    best: Any,
    search_beam: Any,
    output_beam: Any,
    numbers: Int32s,
) -> tuple[Int32s, Float32s, FrameArcs]:
    """Number the target states within the search beam, and keep the arcs within the output beam; see `expand`."""
    states, forward = np.empty(len(target), np.int32), np.empty(len(target), np.float32)
    found = kept = near = 0
    for index in range(len(target)):
        score = end[index] - best
        if score > -search_beam:
            place = numbers[target[index]]
            if place < 0:
                place = numbers[target[index]] = found
                states[found], forward[found] = target[index], score
                found += 1
            forward[place] = max(forward[place], score)
            source[kept], arc[kept], target[kept], end[kept] = source[index], arc[index], place, score
            kept += 1
    for index in range(kept):
        loss = forward[target[index]] - end[index]
        if loss <= output_beam:
            source[near], arc[near], target[near], end[near] = source[index], arc[index], target[index], loss
            near += 1
    for index in range(found):
        numbers[states[index]] = -1
    return (
        states[:found].copy(),
        forward[:found].copy(),
        FrameArcs(source[:near].copy(), target[:near].copy(), arc[:near].copy(), end[:near].copy()),
    )


@compile_function
def remove_arcs(
    arcs: FrameArcs,
    ahead: Float32s,
    place: Int32s,
    num_states: int,
    beam: float,
) -> tuple[Int32s, Float32s, FrameArcs]:
    """Remove arcs of a frame by the losses of their paths.

    Args:
        arcs: arcs of the frame.
        ahead: (M,) losses ahead of the target states.
        place: (M,) new positions of the target states.
        num_states: number of source states N.
        beam: largest loss of a path.

    Returns:
        positions of the source states that keep an arc (N',), the losses ahead of them, and the arcs that are left
        (A') between new positions.
    """
    source, target, arc, loss = arcs
    alive, through = np.empty(num_states, np.int32), np.empty(num_states, np.float32)
    new_source, new_target = np.empty_like(source), np.empty_like(target)
    new_arc, new_loss = np.empty_like(arc), np.empty_like(loss)
    limit, found, kept = np.float32(beam), 0, 0
    for index in range(len(source)):
        total = loss[index] + ahead[target[index]]
        if total <= limit:
            if found == 0 or alive[found - 1] != source[index]:
                alive[found], through[found] = source[index], total
                found += 1
            through[found - 1] = min(through[found - 1], total)
            new_source[kept], new_target[kept] = found - 1, place[target[index]]
            new_arc[kept], new_loss[kept] = arc[index], loss[index]
            kept += 1
    return (
        alive[:found].copy(),
        through[:found].copy(),
        FrameArcs(new_source[:kept].copy(), new_target[:kept].copy(), new_arc[:kept].copy(), new_loss[:kept].copy()),
    )


@compile_function
def follow_words(
    labels: WordLabels, frame: FrameArcs, best: Int64s, equal: Int64s, shared: Int64s
) -> tuple[Int64s, Int64s]:
    """Compare the words of all paths with those of the best path, over one frame; see `Agreement`.

    Args:
        labels: words of the arcs.
        frame: arcs of the frame.
        best: (W,) words of the best path, then -1.
        equal, shared: (N,) before the frame.

    Returns:
        equal and shared (N',) after the frame. Where paths with different numbers of words meet, the lower number
        counts as a difference.
    """
    count = np.max(frame.target) + 1 if len(frame.target) else 0
    lowest, new_equal = np.full(count, NEVER), np.full(count, -1)
    new_shared = np.full(count, NEVER)
    for index in range(len(frame.source)):
        number, difference = equal[frame.source[index]], shared[frame.source[index]]
        arc, target = frame.arc[index], frame.target[index]
        begin, end = (labels.splits[arc], labels.splits[arc + 1]) if len(labels.splits) else (arc, arc + 1)
        for word in labels.words[begin:end]:
            if word > 0 and number >= 0:
                if word == best[min(number, len(best) - 1)]:
                    number += 1
                else:
                    number, difference = -1, min(difference, number)
        if number >= 0:
            lowest[target] = min(lowest[target], number)
        new_equal[target] = max(new_equal[target], number)
        new_shared[target] = min(new_shared[target], difference)
    for target in range(count):
        if lowest[target] < new_equal[target]:
            new_shared[target] = min(new_shared[target], lowest[target])
    return new_equal, new_shared


def compile_search_kernels() -> None:
    """Compile all kernels, or load them from the cache, by a search in a graph of one arc."""
    arcs = np.array([[0, 0, 0, 0]], np.int32)
    graph = GraphViews(np.array([0, 1], np.int32), arcs, arcs.view(np.float32), 0.0, np.full(1, -1, np.int32))
    zero = np.zeros(1, np.float32)
    _, _, frame = expand(graph, arcs[0, :1].copy(), zero, np.zeros(2, np.float32), -np.inf, (1.0, 1.0))
    remove_arcs(frame, zero, arcs[0, :1].copy(), 1, 1.0)
    numbers = np.zeros(1, np.int64)
    follow_words(WordLabels(arcs[0], arcs[0]), frame, numbers, numbers, numbers)

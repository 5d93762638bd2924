"""Endpoints and cuts: when a segment ends, and where a segment that is too long is divided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

MIN_PAUSE = 4  # encoder frames of silence at either end of a segment that cannot be part of a word


@dataclass(frozen=True)
class EndpointRule:
    """One endpoint rule in Kaldi's form; it applies if all of its conditions hold.

    Args:
        after_words: requires that the segment has words.
        trailing_silence: minimum silence at the end of the segment, in seconds.
        relative_cost: maximum difference between the best path and the best complete path, in nats.
        length: minimum duration of the segment, in seconds.

    Example:
        >>> rule = EndpointRule(trailing_silence=0.5, relative_cost=2.0)
        >>> rule.applies(words=True, silence=0.6, cost=1.0, length=3.2)
        True
    """

    after_words: bool = True
    trailing_silence: float = 0.0
    relative_cost: float = float("inf")
    length: float = 0.0

    def applies(self, words: bool, silence: float, cost: float, length: float) -> bool:
        """Return whether the rule ends a segment; see `is_endpoint` for the arguments."""
        return (
            (words or not self.after_words)
            and silence >= self.trailing_silence
            and cost <= self.relative_cost
            and length >= self.length
        )


# The defaults of Kaldi's online2 decoders (OnlineEndpointConfig).
KALDI_RULES = (
    EndpointRule(after_words=False, trailing_silence=5.0),
    EndpointRule(trailing_silence=0.5, relative_cost=2.0),
    EndpointRule(trailing_silence=1.0, relative_cost=8.0),
    EndpointRule(trailing_silence=2.0),
)


def is_endpoint(rules: Sequence[EndpointRule], words: bool, silence: float, cost: float, length: float) -> bool:
    """Return whether any rule ends the segment.

    Args:
        rules: endpoint rules.
        words: whether the segment has words.
        silence: trailing silence in seconds.
        cost: relative cost in nats, see `BeamSearch.relative_cost`.
        length: duration of the segment in seconds.
    """
    return any(rule.applies(words, silence, cost, length) for rule in rules)


def cut_position(spoken: Sequence[tuple[int, int]], num_frames: int) -> int:
    """Return the frame at which to cut a segment: the middle of its longest pause.

    Pauses in the second half are preferred. Pauses in the first eighth are ignored, since the rest would have to be cut
    again at once. Without any pause, the segment is cut at its end.

    Args:
        spoken: first frame and end of each word, see `augmem.decoding.times.spoken_frames`.
        num_frames: number of frames of the segment.
    """
    pauses = [pause for pause in find_pauses(spoken, num_frames) if sum(pause) >= num_frames // 4]
    late = [(begin, end) for begin, end in pauses if end >= num_frames // 2]
    begin, end = max(late or pauses, key=lambda pause: pause[1] - pause[0], default=(num_frames, num_frames))
    return (begin + end + 1) // 2


def find_pauses(spoken: Sequence[tuple[int, int]], num_frames: int) -> list[tuple[int, int]]:
    """Return first frame and end of the pauses between words, and of sufficiently long silence at either end.

    Args:
        spoken: first frame and end of each word.
        num_frames: number of frames of the segment.
    """
    pauses = [(before[1], after[0]) for before, after in pairwise(spoken)]
    if spoken and spoken[0][0] >= MIN_PAUSE:
        pauses.insert(0, (0, spoken[0][0]))
    if spoken and num_frames - spoken[-1][1] >= MIN_PAUSE:
        pauses.append((spoken[-1][1], num_frames))
    return pauses

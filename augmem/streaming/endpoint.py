"""When an utterance is over: Kaldi's rules, as data, in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class EndpointRule:
    """An utterance ends if all of this holds.

    Args:
        after_words: something has been said.
        trailing_silence: at least so many seconds without a sound at the end.
        relative_cost: the best complete hypothesis is worse than the best of any kind by at most so many nats.
        length: at least so many seconds since the segment began.
    """

    after_words: bool = True
    trailing_silence: float = 0.0
    relative_cost: float = float("inf")
    length: float = 0.0

    def holds(self, words: bool, silence: float, cost: float, length: float) -> bool:
        """Whether a segment with these measures is over."""
        return (
            (words or not self.after_words)
            and silence >= self.trailing_silence
            and cost <= self.relative_cost
            and length >= self.length
        )


# The defaults of Kaldi's online2 decoders.
KALDI_RULES = (
    EndpointRule(after_words=False, trailing_silence=5.0),
    EndpointRule(trailing_silence=0.5, relative_cost=2.0),
    EndpointRule(trailing_silence=1.0, relative_cost=8.0),
    EndpointRule(trailing_silence=2.0),
)


def endpoint(rules: Sequence[EndpointRule], words: bool, silence: float, cost: float, length: float) -> bool:
    """Whether any rule says that the segment is over."""
    return any(rule.holds(words, silence, cost, length) for rule in rules)

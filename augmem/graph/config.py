"""Options of the graphs, and nothing else: readable without k2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TOPOLOGIES = ("ctc", "modified_ctc", "hmm", "chain")


@dataclass(frozen=True)
class GraphConfig:
    """How units become frames, and which unit sequences the denominator of LF-MMI competes with.

    Args:
        topology: how a unit is spread over frames: "ctc", "modified_ctc" (fewer arcs, another model), "hmm"
            (one state a unit, no blank) or "chain" (Kaldi's: one output for a unit's first frame, one for the
            rest).
        context: "left": a unit's outputs depend on the unit before it (biphones), "none": they do not.
        context_min_count: biphones seen less often in the training transcripts share the outputs of their unit without
            context.
        phone_lm_order: order of the n-gram model over units, 2 to 4.
        phone_lm_histories: keep at most so many histories longer than one unit, the most frequent ones.
        silence_at_ends: how often the unit model puts silence before the first and after the last word.
        silence_between_words: how often the unit model puts silence between two words.
        seed: chooses among pronunciations and silences when the unit model is counted.
    """

    topology: str = "ctc"
    context: Literal["none", "left"] = "none"
    context_min_count: int = 200
    phone_lm_order: int = 3
    phone_lm_histories: int = 200
    silence_at_ends: float = 0.8
    silence_between_words: float = 0.15
    seed: int = 1

    def __post_init__(self) -> None:
        if self.topology not in TOPOLOGIES:
            raise ValueError(f"graph.topology is {self.topology!r}; it must be one of {', '.join(TOPOLOGIES)}")
        if self.context not in ("none", "left"):
            raise ValueError(f"graph.context is {self.context!r}; it must be none or left")
        if self.context_min_count < 1:
            raise ValueError(f"graph.context_min_count is {self.context_min_count}; it must be at least 1")
        if self.phone_lm_order not in (2, 3, 4):
            raise ValueError(f"graph.phone_lm_order is {self.phone_lm_order}; it must be 2, 3 or 4")
        if self.phone_lm_histories < 0:
            raise ValueError(f"graph.phone_lm_histories is {self.phone_lm_histories}; it must be 0 or more")
        for name in ("silence_at_ends", "silence_between_words"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"graph.{name} is {getattr(self, name)}; it must be at least 0 and less than 1")

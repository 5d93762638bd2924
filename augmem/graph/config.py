"""Options and file names of the graphs; imports no k2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from augmem.errors import UserError

HLG_FILE = "HLG.safetensors"
PHONE_LM_FILE = "P.safetensors"
DENOMINATOR_FILE = "denominator.safetensors"
TOPOLOGIES = ("ctc", "modified_ctc", "hmm", "chain")


@dataclass(frozen=True)
class GraphConfig:
    """Options of topology, context and phone LM.

    Args:
        topology: mapping of units to frames: "ctc", "modified_ctc" (fewer arcs, another model), "hmm" (one state per
            unit, no blank) or "chain" (as in Kaldi: one output for the first frame of a unit, one for the others).
        context: "left": the outputs of a unit depend on the unit before it (biphones); "none": they do not.
        context_min_count: biphones that occur less often in the training transcripts share the outputs of their unit
            without context.
        phone_lm_order: order of the phone LM, 2 to 4.
        phone_lm_histories: number of histories longer than one unit that are kept, the most frequent ones.
        silence_at_ends: probability of silence before the first and after the last word in the phone LM's training
            text.
        silence_between_words: probability of silence between two words in that text.
        seed: seed of the sampling of pronunciations and silences in that text.
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
            raise UserError(f"graph.topology is {self.topology!r}; it must be one of {', '.join(TOPOLOGIES)}")
        if self.context not in ("none", "left"):
            raise UserError(f"graph.context is {self.context!r}; it must be none or left")
        if self.context_min_count < 1:
            raise UserError(f"graph.context_min_count is {self.context_min_count}; it must be at least 1")
        if self.phone_lm_order not in (2, 3, 4):
            raise UserError(f"graph.phone_lm_order is {self.phone_lm_order}; it must be 2, 3 or 4")
        if self.phone_lm_histories < 0:
            raise UserError(f"graph.phone_lm_histories is {self.phone_lm_histories}; it must be 0 or more")
        for name in ("silence_at_ends", "silence_between_words"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"graph.{name} is {getattr(self, name)}; it must be at least 0 and less than 1")

"""Options and file names of the graphs; imports no k2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from augmem.errors import check_option

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
        self._require("topology", self.topology in TOPOLOGIES, f"be one of {', '.join(TOPOLOGIES)}")
        self._require("context", self.context in ("none", "left"), "be none or left")
        self._require("context_min_count", self.context_min_count >= 1, "be at least 1")
        self._require("phone_lm_order", self.phone_lm_order in (2, 3, 4), "be 2, 3 or 4")
        self._require("phone_lm_histories", self.phone_lm_histories >= 0, "be 0 or more")
        for name in ("silence_at_ends", "silence_between_words"):
            self._require(name, 0 <= getattr(self, name) < 1, "be at least 0 and less than 1")

    def _require(self, name: str, condition: bool, rule: str) -> None:
        check_option(f"graph.{name}", getattr(self, name), condition, rule)

"""Options of decoding and of its tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DecodingConfig:
    """How lattices are made from the model's scores, and which scales are tried on dev.

    The first pass weighs graph costs by 1 and acoustic scores by `acoustic_scale`; the scales of the grid are
    applied afterwards to the n-best lists. Beams and penalties are in nats.

    Args:
        search_beam: paths worse than the frame's best by more than this are dropped while searching.
        output_beam: arcs whose best path is worse than the lattice's best by more than this are dropped.
        min_active: graph states kept at each frame even when the beam would drop them.
        max_active: graph states kept at each frame at most.
        acoustic_scale: weight of the acoustic scores against the graph's costs in the first pass.
        nbest: different word sequences kept for each utterance.
        nbest_beam: word sequences worse than the best by more than this are not listed.
        nbest_tokens: partial word sequences followed at each frame while listing.
        rescoring: what the larger language model reads: whole "lattice"s, or "nbest" lists.
        rescoring_beam: paths worse than the lattice's best by more than this are dropped before it is rescored.
        rescoring_arcs: arcs of a rescored lattice at most; where there would be more, its n-best list must do (logged).
        write_lattices: keep all lattices, in Kaldi's text form.
        retries: how often an utterance without any complete path is searched again, each time with beams
            1.5 times as wide and 4 times the states; then the graph may end anywhere.
        max_duration: seconds of speech searched at a time; less needs less memory.
        lm_scales: language model weights tried on dev.
        insertion_penalties: rewards per word tried on dev (negative: fewer words).
    """

    search_beam: float = 20.0
    output_beam: float = 10.0
    min_active: int = 30
    max_active: int = 10000
    acoustic_scale: float = 1.0
    nbest: int = 100
    nbest_beam: float = 10.0
    nbest_tokens: int = 2000
    rescoring: Literal["lattice", "nbest"] = "lattice"
    rescoring_beam: float = 6.0
    rescoring_arcs: int = 300_000
    write_lattices: bool = False
    retries: int = 2
    max_duration: float = 40.0
    lm_scales: tuple[float, ...] = (0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0, 2.5, 3.0)
    insertion_penalties: tuple[float, ...] = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)

    def __post_init__(self) -> None:
        for name in ("search_beam", "output_beam", "acoustic_scale", "nbest_beam", "rescoring_beam", "max_duration"):
            self._require(name, getattr(self, name) > 0, "must be above 0")
        for name in ("max_active", "nbest", "nbest_tokens", "rescoring_arcs"):
            self._require(name, getattr(self, name) >= 1, "must be at least 1")
        self._require("min_active", 0 <= self.min_active <= self.max_active, "must lie in 0..max_active")
        self._require("rescoring", self.rescoring in ("lattice", "nbest"), "must be lattice or nbest")
        self._require("retries", self.retries >= 0, "must not be negative")
        self._require("lm_scales", bool(self.lm_scales), "must name at least one scale")
        self._require("lm_scales", min(self.lm_scales, default=0) >= 0, "must not be negative")
        self._require("insertion_penalties", bool(self.insertion_penalties), "must name at least one value")

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"decoding.{name} = {getattr(self, name)!r}: {rule}")

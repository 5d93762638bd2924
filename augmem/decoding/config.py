"""Options of the search, of decoding and of tuning."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from augmem.devices import check_device_name
from augmem.errors import check_option


@dataclass(frozen=True)
class SearchConfig:
    """Options of the first pass and its n-best lists.

    Offline decoding, streaming recognition and packaged models use this one set. Beams are in nats.

    Args:
        search_beam: paths that score less than the best path of a frame by more than this are dropped in the search.
        output_beam: lattice arcs whose best path scores less than the best path of all by more than this are dropped.
        min_active: the search beam grows while fewer graph states than this are kept.
        max_active: maximum number of graph states kept in each frame: the best ones.
        acoustic_scale: weight of the acoustic scores in the first pass; graph scores have weight 1. A larger value
            makes the search faster. It does not change the scores of the lists, which are separate.
        nbest: maximum number of word sequences in a list.
        nbest_beam: word sequences that score less than the best one by more than this are not listed.
        nbest_tokens: maximum number of partial word sequences in each frame while a list is made.
        retries: number of further searches of an utterance without a complete path. Each has beams 1.5 times as wide
            and 4 times as many states. The last resort is a graph in which every state is final.

    Raises:
        UserError: a value out of range.

    Example:
        >>> fast = SearchConfig(search_beam=12.0, max_active=1000)
        >>> SearchConfig(search_beam=0.0)
        Traceback (most recent call last):
        augmem.errors.UserError: decoding.search_beam is 0.0; it must be above 0
    """

    search_beam: float = 18.0
    output_beam: float = 8.0
    min_active: int = 30
    max_active: int = 5000
    acoustic_scale: float = 1.2
    nbest: int = 50
    nbest_beam: float = 8.0
    nbest_tokens: int = 250
    retries: int = 2

    def __post_init__(self) -> None:
        for name in ("search_beam", "output_beam", "acoustic_scale", "nbest_beam"):
            self._require(name, getattr(self, name) > 0, "be above 0")
        for name in ("max_active", "nbest", "nbest_tokens"):
            self._require(name, getattr(self, name) >= 1, "be at least 1")
        self._require("min_active", 0 <= self.min_active <= self.max_active, "be from 0 to max_active")
        self._require("retries", self.retries >= 0, "be at least 0")

    def _require(self, name: str, holds: bool, rule: str) -> None:
        check_option(f"decoding.{name}", getattr(self, name), holds, rule)


@dataclass(frozen=True)
class DecodingConfig(SearchConfig):
    """Options of the decode stage: the search, rescoring, and the grid that is tuned on dev.

    Args:
        rescoring: what the rescoring LM is applied to: the whole "lattice", or the "nbest" list.
        rescoring_beam: lattices are pruned to this beam before they are rescored.
        rescoring_arcs: maximum number of arcs of a rescored lattice. If it would have more, the n-best list is
            rescored instead (logged).
        write_lattices: write all lattices in Kaldi's text format.
        max_duration: seconds of speech in a batch, padding included; a smaller value needs less memory.
        device: where acoustic scores are computed: cpu, cuda, one GPU such as cuda:0, or auto: a GPU if there is one.
            The search runs on the CPU.
        lm_scales: language model scales tried on dev.
        word_insertion_bonuses: values tried on dev for the score added for each word (negative: fewer words).
    """

    rescoring: Literal["lattice", "nbest"] = "lattice"
    rescoring_beam: float = 6.0
    rescoring_arcs: int = 300_000
    write_lattices: bool = False
    max_duration: float = 40.0
    device: str = "auto"
    lm_scales: tuple[float, ...] = (0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0, 2.5, 3.0)
    word_insertion_bonuses: tuple[float, ...] = (-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rescoring_beam", "max_duration"):
            self._require(name, getattr(self, name) > 0, "be above 0")
        check_device_name(self.device, "decoding.device")
        self._require("rescoring_arcs", self.rescoring_arcs >= 1, "be at least 1")
        self._require("rescoring", self.rescoring in ("lattice", "nbest"), "be lattice or nbest")
        self._require("lm_scales", min(self.lm_scales, default=-1) >= 0, "be one or more values of at least 0")
        self._require("word_insertion_bonuses", bool(self.word_insertion_bonuses), "have at least one value")

    @property
    def search(self) -> SearchConfig:
        """The options of the first pass alone, as stored in a package."""
        return SearchConfig(**{field.name: getattr(self, field.name) for field in fields(SearchConfig)})

"""Numerators: for each transcript, all frame sequences that say it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import k2
import torch

from augmem.graph.frames import FrameGraph, FrameGraphs, frame_graph, stack_graphs
from augmem.graph.fsa import fsa_list, without_outputs
from augmem.graph.lexicon_fst import build_lexicon
from augmem.graph.topology import Biphones, build_topology

if TYPE_CHECKING:
    from augmem.lang import Lang


class NumeratorCompiler:
    """Turns transcripts into graphs over frames: H o (units of the transcript) o P.

    The units of a transcript are the set of unit sequences the lexicon L allows for its words: every
    pronunciation, silence wherever L has it optional. Each sequence counts once; L's own weights are left
    out, because P already says how likely a sequence is. So for LF-MMI (with P) a numerator sums over a
    subset of the denominator's paths with the same weights, and is never the larger of the two.

    Compiled graphs are kept, so that epochs after the first cost nothing, up to a bound on memory. When it is
    reached the first ones stay: an epoch visits all in turn, so dropping the oldest would keep none in time.

    Args:
        lang: words, units and L.
        topology: name of H.
        phone_lm: P as a sorted, epsilon-free acceptor; None for CTC.
        max_kept_arcs: bound on the arcs of all graphs kept, 20 bytes each.
        biphones: context of H.
    """

    def __init__(
        self,
        lang: Lang,
        topology: str,
        phone_lm: k2.Fsa | None = None,
        max_kept_arcs: int = 20_000_000,
        biphones: Biphones = (),
    ) -> None:
        self.lang = lang
        self.topology = build_topology(topology, lang.num_units, biphones)
        self.phone_lm = phone_lm
        self._lexicon = k2.arc_sort(build_lexicon(lang).invert())  # words to units
        self._kept: dict[str, FrameGraph] = {}
        self._room = max_kept_arcs

    def compile(self, texts: Sequence[str]) -> FrameGraphs:
        """Graphs for a batch, in order; a text the lexicon cannot say has no path, so its score is -inf."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._kept]
        fresh = self._build(missing) if missing else {}
        for text, graph in fresh.items():
            if len(graph.scores) <= self._room:
                self._kept[text] = graph
                self._room -= len(graph.scores)
        return stack_graphs([self._kept[text] if text in self._kept else fresh[text] for text in texts])

    def _build(self, texts: Sequence[str]) -> dict[str, FrameGraph]:
        return {t: frame_graph(fsa) for t, fsa in zip(texts, fsa_list(self.fsas(texts)), strict=True)}

    def fsas(self, texts: Sequence[str]) -> k2.Fsa:
        """The same as a vector of k2 acceptors over frames (not cached): for alignment, and as a check."""
        units = self.units(texts)
        if self.phone_lm is not None:
            units = k2.connect(k2.intersect(units, self.phone_lm, treat_epsilons_specially=False))
        graphs = k2.connect(k2.compose(self.topology, k2.arc_sort(units)))
        return k2.arc_sort(without_outputs(graphs))

    def units(self, texts: Sequence[str]) -> k2.Fsa:
        """Acceptors of the transcripts' unit sequences: each sequence once, unweighted, without epsilons."""
        words = k2.linear_fsa_with_self_loops(k2.linear_fsa([self.lang.word_ids(text) for text in texts]))
        paths = k2.connect(k2.intersect(self._lexicon, words, treat_epsilons_specially=False))
        units = k2.Fsa(paths.arcs)
        units.labels = paths.aux_labels.contiguous()
        units.scores = torch.zeros(units.num_arcs)
        plain = k2.remove_epsilon(k2.top_sort(units))
        # One by one: k2 1.23.4's determinize crashes on vectors of automata.
        return k2.arc_sort(k2.create_fsa_vec([k2.connect(k2.determinize(fsa)) for fsa in fsa_list(plain)]))

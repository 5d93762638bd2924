"""Numerators: graphs of all frame sequences of a transcript."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from augmem.graph.frames import FrameGraph, FrameGraphs, frame_graph, stack_graphs
from augmem.graph.fsa import remove_outputs, split_fsas
from augmem.graph.lexicon import build_lexicon
from augmem.graph.topology import Biphones, build_topology
from augmem.lazy_k2 import k2

if TYPE_CHECKING:
    from augmem.lang import Lang


class NumeratorCompiler:
    """Compiles transcripts into graphs over frames: H o (units of the transcript) o P.

    The units of a transcript are all unit sequences that the lexicon L allows for its words: every pronunciation, and
    optional silence. Each sequence counts once; the weights of L are dropped, because P weights the sequences. With P,
    a numerator therefore sums over a subset of the denominator's paths with the same weights and cannot exceed it.

    Compiled graphs are cached up to a bound, so that only the first epoch compiles. The first graphs are kept: an epoch
    visits all transcripts in turn, so that a least-recently-used cache would never hit.

    Args:
        lang: words, units and pronunciations.
        topology: name of H.
        phone_lm: P as a sorted, epsilon-free acceptor; None for CTC.
        max_cached_arcs: bound on the arcs of all cached graphs, 20 bytes each.
        biphones: context of H.
    """

    def __init__(
        self,
        lang: Lang,
        topology: str,
        phone_lm: k2.Fsa | None = None,
        max_cached_arcs: int = 20_000_000,
        biphones: Biphones = (),
    ) -> None:
        self.lang = lang
        self.topology = build_topology(topology, lang.num_units, biphones)
        self.phone_lm = phone_lm
        self._cached: dict[str, FrameGraph] = {}
        self._free_arcs = max_cached_arcs

    def compile(self, texts: Sequence[str]) -> FrameGraphs:
        """Return the graphs of a batch of transcripts, in order."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._cached]
        fresh = self._build(missing) if missing else {}
        for text, graph in fresh.items():
            if len(graph.scores) <= self._free_arcs:
                self._cached[text] = graph
                self._free_arcs -= len(graph.scores)
        return stack_graphs([self._cached[text] if text in self._cached else fresh[text] for text in texts])

    def _build(self, texts: Sequence[str]) -> dict[str, FrameGraph]:
        return {t: frame_graph(fsa) for t, fsa in zip(texts, split_fsas(self.fsas(texts)), strict=True)}

    def fsas(self, texts: Sequence[str]) -> k2.Fsa:
        """Return the graphs as an FsaVec of acceptors over frames, not cached; for alignment and tests."""
        units = self.units(texts)
        if self.phone_lm is not None:
            units = k2.connect(k2.intersect(units, self.phone_lm, treat_epsilons_specially=False))
        graphs = k2.connect(k2.compose(self.topology, k2.arc_sort(units)))
        return k2.arc_sort(remove_outputs(graphs))

    def units(self, texts: Sequence[str]) -> k2.Fsa:
        """Return acceptors of the unit sequences of transcripts: unweighted, deterministic, without epsilons."""
        ids = [self.lang.word_ids(text) for text in texts]
        used = [self.lang.word_of[index] for index in sorted({index for row in ids for index in row})]
        lexicon = k2.arc_sort(build_lexicon(self.lang, words=used).invert())  # words to units
        words = k2.linear_fsa_with_self_loops(k2.linear_fsa(ids))
        paths = k2.connect(k2.intersect(lexicon, words, treat_epsilons_specially=False))
        units = k2.Fsa(paths.arcs)
        units.labels = paths.aux_labels.contiguous()
        units.scores = torch.zeros(units.num_arcs)
        plain = k2.remove_epsilon(k2.top_sort(units))
        # One by one: determinize of k2 1.23.4 crashes on an FsaVec.
        return k2.arc_sort(k2.create_fsa_vec([k2.connect(k2.determinize(fsa)) for fsa in split_fsas(plain)]))

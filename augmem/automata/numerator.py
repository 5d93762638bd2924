"""Numerators: graphs of all frame sequences of a transcript."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from augmem.automata.frames import frame_graph
from augmem.automata.fsa import remove_outputs, split_fsas
from augmem.automata.lexicon import build_lexicon
from augmem.automata.topology import build_topology
from augmem.graph import Biphones, FrameGraph
from augmem.lang import Lang
from augmem.lazy_k2 import k2


class NumeratorCompiler:
    """Compiles transcripts into graphs over frames: H o (units of the transcript) o P.

    The units of a transcript are all unit sequences that the lexicon L allows for its words: every pronunciation, and
    optional silence. Each sequence counts once; the weights of L are dropped, because P weights the sequences. With P,
    a numerator therefore sums over a subset of the denominator's paths with the same weights and cannot exceed it.

    Args:
        lang: words, units and pronunciations.
        topology: name of H.
        phone_lm: P as a sorted, epsilon-free acceptor; None for CTC.
        biphones: context of H.
    """

    def __init__(self, lang: Lang, topology: str, phone_lm: k2.Fsa | None = None, biphones: Biphones = ()) -> None:
        self.lang = lang
        self.topology = build_topology(topology, lang.num_units, biphones)
        self.phone_lm = phone_lm

    def compile(self, texts: Sequence[str]) -> list[FrameGraph]:
        """Return the graph of each transcript."""
        return [frame_graph(fsa) for fsa in split_fsas(self.fsas(texts))]

    def fsas(self, texts: Sequence[str]) -> k2.Fsa:
        """Return the graphs as an FsaVec of acceptors over frames."""
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

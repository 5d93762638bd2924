"""Numerators and denominators compiled on the fly."""

from __future__ import annotations

from collections.abc import Sequence

import k2

from augmem.automata import NumeratorCompiler, denominator_fsa, frame_graph
from augmem.graph import Biphones, Denominator, FrameGraphs, stack_graphs
from augmem.lang import Lang


def compile_numerators(
    lang: Lang, topology: str, texts: Sequence[str], phone_lm: k2.Fsa | None = None, biphones: Biphones = ()
) -> FrameGraphs:
    """Return the numerators of a batch of transcripts."""
    return stack_graphs(NumeratorCompiler(lang, topology, phone_lm, biphones).compile(texts))


def compile_denominator(
    phone_lm: k2.Fsa, topology: str, num_units: int, biphones: Biphones = (), max_states: int = 2000
) -> Denominator:
    """Return the denominator with a phone LM."""
    return Denominator(frame_graph(denominator_fsa(phone_lm, topology, num_units, biphones)), max_states)

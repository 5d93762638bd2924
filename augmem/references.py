"""Utterances with reference and hypothesis, as scoring needs them, from the cuts of a part."""

from __future__ import annotations

from collections.abc import Sequence

from lhotse.cut import Cut

from augmem.corpus import find_session
from augmem.scoring import Utterance


def reference_words(cut: Cut) -> tuple[str, ...]:
    """Return the words of the normalised transcript of a cut."""
    return tuple(cut.supervisions[0].text.split())


def scoring_utterance(cut: Cut, hypothesis: Sequence[str]) -> Utterance:
    """Combine the reference, speaker and session of a cut with a hypothesis."""
    supervision = cut.supervisions[0]
    return Utterance(cut.id, supervision.speaker, reference_words(cut), tuple(hypothesis), find_session(supervision))

"""Utterances with reference and hypothesis, as scoring needs them, from the cuts of a part."""

from __future__ import annotations

from collections.abc import Sequence

from lhotse.cut import Cut

from augmem.corpus import session_of
from augmem.scoring import Utterance


def scoring_utterance(cut: Cut, hypothesis: Sequence[str]) -> Utterance:
    """Combine the normalised transcript, speaker and session of a cut with a hypothesis."""
    supervision = cut.supervisions[0]
    reference = tuple(supervision.text.split())
    return Utterance(cut.id, supervision.speaker, reference, tuple(hypothesis), session_of(supervision))

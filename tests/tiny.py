"""A lang of two words and its graphs, made by the real stages in a second, for tests that need a whole system."""

from __future__ import annotations

from pathlib import Path

from augmem.graph import GraphConfig, prepare_graphs
from augmem.lang import LangConfig, LmConfig, prepare_lang, prepare_language_models

TEXTS = ["ONE TWO", "TWO ONE ONE", "TWO", "ONE"]


def make_lang_and_graphs(root: Path) -> tuple[Path, Path]:
    """The lang folder and the graph folder."""
    (root / "lexicon.txt").write_text("<UNK> SPN\n!SIL SIL\nONE W AH N\nTWO T UW\n")
    prepare_lang(LangConfig(lexicon=str(root / "lexicon.txt"), g2p="none"), TEXTS, root / "lang")
    prepare_language_models(LmConfig(), TEXTS, {"dev": TEXTS}, root / "lang", root / "lm")
    prepare_graphs(GraphConfig(phone_lm_histories=5), root / "lang", root / "lm", TEXTS, root / "graphs")
    return root / "lang", root / "graphs"

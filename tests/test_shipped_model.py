"""The model that comes with this project, on carried speech that it has not been trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from augmem.onnx_engine import OnnxRecognizer
from augmem.onnx_package import FILES
from augmem.shipped import SHIPPED_MODEL
from benchmarks.shipped_model import CONDITIONS, read_part, recognise

ROOT = Path(__file__).parents[1]
WER = 0.18  # measured: 0.154


@pytest.fixture(scope="module")
def recognizer() -> OnnxRecognizer:
    """The default; its decoding graph is built once on a machine."""
    return OnnxRecognizer()


def test_word_errors_of_carried_utterances(recognizer: OnnxRecognizer, tmp_path: Path) -> None:
    speeches = read_part("dev-held", tmp_path, every=60)
    results = recognise(recognizer, speeches, CONDITIONS["clean"])
    counts = sum((utterance.counts for utterance in results.utterances[1:]), results.utterances[0].counts)
    assert len(speeches) == 5 and counts.words > 150
    assert counts.rate < WER, counts
    assert len(results.delays) > 100 and 0 < sorted(results.delays)[len(results.delays) // 2] < 2.0


def test_files_are_small_and_shared_with_the_recipe() -> None:
    own = [path for path in SHIPPED_MODEL.iterdir() if not path.is_symlink()]
    assert sum(path.stat().st_size for path in own) < 2_500_000
    for name, carried in {FILES.lexicon: "lexicon.txt.xz", FILES.grammar: "3gram.arpa.xz"}.items():
        assert (SHIPPED_MODEL / name).samefile(ROOT / "corpora" / "lm" / carried)


def test_the_card_has_the_figures() -> None:
    card = (SHIPPED_MODEL / "README.md").read_text(encoding="utf-8")
    for part in ("dev-held", "test-held"):
        assert all(f"| {part} | {condition} | " in card for condition in CONDITIONS)

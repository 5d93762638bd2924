"""Hotwords: scores of word sequences, and lattices against an enumeration of their paths."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from augmem.decoding import (
    DecodingGraph,
    Hotwords,
    Lattice,
    SearchConfig,
    best_word_sequences,
    find_lattices,
    make_hotwords,
    read_hotwords,
)
from augmem.decoding.hotwords import Hotword
from augmem.errors import UserError
from augmem.hotword_line import HotwordLine
from augmem.lang import Lang, LangConfig, prepare_lang
from tests.decoding import toys

WORDS = {1: "A", 2: "B", 3: "C", 4: "D", -1: "</s>"}
WIDE = SearchConfig(search_beam=100.0, output_beam=100.0, nbest=1000, nbest_beam=1000.0, nbest_tokens=100_000)


@given(st.lists(st.sampled_from("ABC"), max_size=8))
def test_each_occurrence_of_a_word_gets_its_bonus(sentence: list[str]) -> None:
    model = Hotwords([Hotword(("A",), 2.0), Hotword(("B",), -0.5)])
    assert model.sentence(sentence) == pytest.approx(2.0 * sentence.count("A") - 0.5 * sentence.count("B"))


@given(st.lists(st.sampled_from("ABCD"), max_size=10))
def test_phrases_get_their_bonus_only_if_complete(sentence: list[str]) -> None:
    """No two of the phrases overlap, so that plain text search counts them."""
    model = Hotwords([Hotword(("A", "B"), 1.5), Hotword(("C", "D"), 1.0)])
    text = "".join(sentence)
    assert model.sentence(sentence) == pytest.approx(3.0 * text.count("AB") + 2.0 * text.count("CD"))


@pytest.mark.parametrize(
    ("text", "expected"), [("A B", 2.0), ("A B C", 3.0), ("A B D", 2.0), ("A A B", 2.0), ("B", 0.0), ("A B C B", 3.0)]
)
def test_a_phrase_that_begins_a_longer_one_keeps_its_bonus(text: str, expected: float) -> None:
    model = Hotwords([Hotword(("A", "B"), 1.0), Hotword(("A", "B", "C"), 1.0)])
    assert model.sentence(text.split()) == pytest.approx(expected)


GRAPH = DecodingGraph(toys.toy_graph())


def toy_lattice(seed: int, frames: int = 5) -> Lattice:
    return find_lattices(toys.random_scores(seed, frames), torch.tensor([frames]), GRAPH, WIDE)[0].lattice


def test_without_hotwords_a_lattice_is_unchanged() -> None:
    lattice = toy_lattice(0)
    assert Hotwords(()).apply(lattice, WORDS) is lattice


@given(st.integers(0, 30), st.floats(0.5, 6.0))
def test_a_lattice_gets_the_bonus_of_each_word_sequence(seed: int, bonus: float) -> None:
    lattice, model = toy_lattice(seed), Hotwords([Hotword(("C", "B"), bonus), Hotword(("D",), 1.0)])
    before = {found.words: found.total for found in best_word_sequences(lattice, WIDE)}
    after = {found.words: found.total for found in best_word_sequences(model.apply(lattice, WORDS), WIDE)}
    assert after.keys() == before.keys()
    for words, total in after.items():
        assert total - before[words] == pytest.approx(model.sentence([WORDS[word] for word in words]), abs=1e-6)


def test_a_lattice_with_too_many_arcs_is_pruned(monkeypatch: pytest.MonkeyPatch) -> None:
    lattice, model = toy_lattice(2, 12), Hotwords([Hotword(("D",), 1.0)])
    monkeypatch.setattr("augmem.decoding.hotwords.MAX_ARCS", lattice.num_arcs // 2)
    found = model.apply(lattice, WORDS)
    assert 0 < found.num_arcs <= lattice.num_arcs // 2
    monkeypatch.setattr("augmem.decoding.hotwords.MAX_ARCS", 1)
    assert model.apply(lattice, WORDS) is lattice


@pytest.fixture(scope="module")
def lang(tmp_path_factory: pytest.TempPathFactory) -> Lang:
    folder = tmp_path_factory.mktemp("lang")
    prepare_lang(LangConfig(units="grapheme"), ["ADA LOVELACE"], folder)
    return Lang.load(folder)


def test_a_file_of_hotwords_is_normalised(lang: Lang, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("# names\nAda Lovelace\nada\t-1.5\n\n")
    model = make_hotwords(read_hotwords(tmp_path / "names.txt"), lang, bonus=2.0)
    assert model.sentence(["ADA", "LOVELACE"]) == 4.0
    assert model.sentence(["ADA"]) == -1.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"names\.txt: no hotword"),
        ("# none\n", r"names\.txt: no hotword"),
        ("ADA\nADA\tmuch\n", r"names\.txt:2: bonus 'much' is not a number"),
        ("ADA\t21\n", r"names\.txt:1: bonus 21 must be from -20 to 20"),
        ("ADA\tnan\n", r"names\.txt:1: bonus nan must be"),
        ("Ada\nCharles Babbage\n", r"2 words are not in the vocabulary of the model \(CHARLES, BABBAGE\); add them"),
        ("...\n", r"names\.txt:1: no word of '\.\.\.' remains after normalisation"),
    ],
)
def test_invalid_hotwords_are_refused(lang: Lang, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        make_hotwords(read_hotwords(tmp_path / "names.txt"), lang)


def test_too_many_hotwords_are_refused(lang: Lang) -> None:
    with pytest.raises(UserError, match=r"5001 hotwords: at most 5000"):
        make_hotwords([HotwordLine("hotwords", "ADA")] * 5001, lang)
